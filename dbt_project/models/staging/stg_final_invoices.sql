{# Whom final invoices were made out to when they closed: a customer that is renamed later keeps them as they are. #}
select
    invoice_id,
    customer_id,
    customer_name
from {{ landed('final_invoices', area='archive') }}
