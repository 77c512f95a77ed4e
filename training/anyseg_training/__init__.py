# SPDX-License-Identifier: Apache-2.0
"""The bundled trainer: teacher, student, evaluation over every subset."""
