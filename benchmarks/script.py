"""What the project replaces: a script with boto3 and hand-written SQL, doing the same work."""

import json
import os
import sys

import boto3
import psycopg


def main(file_id: int) -> str:
    region = os.environ["AWS_REGION"]
    secrets = boto3.client("secretsmanager", region_name=region)
    s3 = boto3.client("s3", region_name=region)
    secret = json.loads(
        secrets.get_secret_value(SecretId=os.environ["APP_DB_SECRET"])["SecretString"]
    )
    with psycopg.connect(
        host=os.environ["APP_DB_HOST"],
        port=os.environ["APP_DB_PORT"],
        dbname=os.environ["APP_DB_NAME"],
        user=os.environ["APP_DB_USER"],
        password=secret["password"],
    ) as connection:
        row = connection.execute("select object_key from files where id = %s", [file_id]).fetchone()
    assert row is not None
    answer = s3.get_object(Bucket=os.environ["APP_BUCKET_NAME"], Key=row[0])
    return answer["Body"].read().decode("utf-8")


if __name__ == "__main__":
    sys.stdout.write(main(int(sys.argv[1])))
