"""What every app's HTTP interface is made of: strict input, pages, throttles, OpenAPI helpers."""
