# docker build -t files . && docker run -p 8000:8000 --env-file production.env files
FROM python:3.13-slim

RUN pip install --no-cache-dir uv && useradd --create-home files
WORKDIR /srv/files
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy PATH=/srv/files/.venv/bin:$PATH

COPY pyproject.toml README.md ./
RUN uv sync --no-cache --no-default-groups

COPY manage.py gunicorn.conf.py ./
COPY project project
COPY files files
RUN python -m compileall -q project files && python manage.py collectstatic --noinput

USER files
EXPOSE 8000
CMD ["gunicorn", "project.wsgi"]
