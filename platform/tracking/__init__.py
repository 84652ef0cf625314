"""MLflow as a projection of the records: the connection, the export, its companion while a sweep runs, the UI.

May import ``comparison``, ``records`` and what lies below ``platform``.
"""
