"""Workers and beat. Started by `celery -A config worker|beat`."""

from __future__ import annotations

from celery import Celery
from django_structlog.celery.steps import DjangoStructLogInitStep

from config.env import apply_settings_module

apply_settings_module()
app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()
