# docker build -t files . && docker run -p 8000:8000 --env-file production.env files
#
# It runs with --read-only --tmpfs /tmp, too.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PYTHONDONTWRITEBYTECODE=1
COPY requirements.txt /
RUN python3 -m venv /venv && \
    /venv/bin/pip install --no-cache-dir --require-hashes --requirement /requirements.txt && \
    /venv/bin/pip uninstall --yes pip
WORKDIR /srv/files
COPY manage.py ./
COPY project project
COPY files files
RUN /venv/bin/python -m compileall -q /venv . && /venv/bin/python manage.py collectstatic --noinput

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.base.name=${PYTHON_IMAGE} \
      org.opencontainers.image.title="Files" \
      org.opencontainers.image.description="A catalogue of files: keys in PostgreSQL, bytes in S3"
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
COPY --from=build /srv/files /srv/files
WORKDIR /srv/files
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Of a port: where APP_BIND is a socket at a path, start it with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD port=${APP_BIND##*:} && python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:${port:-8000}/healthz', timeout=2)"
CMD ["python", "-m", "project.server"]
