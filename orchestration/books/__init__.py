"""The books: what a run has to do, the warehouse that holds them, and the dbt project that makes them."""
