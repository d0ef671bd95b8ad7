# The shop's image: web, worker, beat and migrations are the same image with another command.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/orderkeep --create-home orderkeep
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/orderkeep
COPY . .
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production \
    ORDERKEEP_HOME=/var/lib/orderkeep
USER orderkeep
EXPOSE 8000
CMD ["granian", "config.wsgi:application", "--interface", "wsgi", "--http", "1", "--no-ws", \
     "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "8", \
     "--http1-header-read-timeout", "10000", "--respawn-failed-workers", \
     "--respawn-interval", "5", "--workers-kill-timeout", "15", "--no-log"]
