"""Tables of cells that go out to people, and come in from them: CSV and XLSX."""
