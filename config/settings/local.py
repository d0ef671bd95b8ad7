"""On a developer's machine: what bin/up and bin/manage run with."""

from config.settings.base import *
