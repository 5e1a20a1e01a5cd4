"""The service over HTTP: receiver of webhooks, API, health and metrics."""
