# SPDX-License-Identifier: Apache-2.0
"""The commands of ``anyseg-train``: each module adds its own to the command line and runs them."""
