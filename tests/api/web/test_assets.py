"""Files of the pages."""

from __future__ import annotations


def test_a_name_that_no_file_has_is_404(shared):
    for name in ("a%00b", "%2e%2e/pages.py", "../pages.py", "x" * 5000, ""):
        assert shared.get(f"/static/{name}").status_code == 404, name
