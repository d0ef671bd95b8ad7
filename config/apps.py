"""Assembly of what is not an app of ours."""

from django.contrib.admin.apps import AdminConfig


class OrderkeepAdminConfig(AdminConfig):
    """Django's admin. Being first, it also makes sure that tasks find their Celery app."""

    default_site = "config.staff.site.StaffSite"

    def ready(self) -> None:
        """Load the Celery app wherever Django runs: requests and commands hand tasks over too."""
        super().ready()
        import config.celery  # noqa: F401, PLC0415 - only now are the settings in place
