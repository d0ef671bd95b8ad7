#!/usr/bin/env python
"""Django's command line, in the environment that `bin/manage` prepares."""

import sys

from django.core.management import execute_from_command_line

from config.env import apply_settings_module

if __name__ == "__main__":
    apply_settings_module()
    execute_from_command_line(sys.argv)
