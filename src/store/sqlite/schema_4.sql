UPDATE api_key_schema SET version = 4;
