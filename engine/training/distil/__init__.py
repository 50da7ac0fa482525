"""Distillation: a student learns a teacher's next-token distribution, on data or own samples."""
