# docker build -t files . && docker run -p 8000:8000 --env-file production.env files
FROM python:3.13-slim

RUN useradd --create-home files
WORKDIR /srv/files

COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY manage.py ./
COPY project project
COPY files files
RUN python -m compileall -q project files && python manage.py collectstatic --noinput

USER files
EXPOSE 8000
CMD ["python", "-m", "project.server"]
