"""A stock Django project on the same services: django-storages as it comes."""

import json
import os

import boto3

_secret = boto3.client("secretsmanager", region_name=os.environ["AWS_REGION"]).get_secret_value(
    SecretId=os.environ["APP_DB_SECRET"]
)

SECRET_KEY = "benchmark"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "benchmarks.stock",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["APP_DB_HOST"],
        "PORT": os.environ["APP_DB_PORT"],
        "NAME": os.environ["APP_DB_NAME"],
        "USER": os.environ["APP_DB_USER"],
        "PASSWORD": json.loads(_secret["SecretString"])["password"],
    }
}
STORAGES = {
    "default": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": os.environ["APP_BUCKET_NAME"],
            "region_name": os.environ["AWS_REGION"],
        },
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
