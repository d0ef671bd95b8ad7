"""What the web server calls."""

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

from config.env import apply_settings_module

apply_settings_module()
application = get_wsgi_application()
resolve("/api/v1/orders")  # imports all views now, not in the first customer's request
