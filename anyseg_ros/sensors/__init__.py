# SPDX-License-Identifier: Apache-2.0
"""A sensor's payload becomes an image-plane tensor."""
