"""JSON for programs, at `/api/`: the same operations, lists and permissions as in the admin.

Django REST framework is loaded by the URLconf alone, so that commands start as fast as without.
"""
