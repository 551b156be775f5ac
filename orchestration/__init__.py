"""The orchestration of the warehouse: land the feeds, start dbt, check, publish. No billing here."""
