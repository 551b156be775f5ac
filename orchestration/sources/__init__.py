"""Where feeds come from: folders and object stores, services on the internet, UsageBox engines."""
