"""What the web server calls."""

from django.core.wsgi import get_wsgi_application

from config.env import apply_settings_module

apply_settings_module()
application = get_wsgi_application()
