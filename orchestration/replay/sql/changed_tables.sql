select * from changed_tables
