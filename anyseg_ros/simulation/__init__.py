# SPDX-License-Identifier: Apache-2.0
"""A drive with ground truth."""
