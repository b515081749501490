"""What surrounds the service: local servers, samples, the demonstration, container files."""
