{# Invoices as they closed; the publication that first showed one as final wrote it down. #}
select * from {{ landed('final_invoice_lines', area='archive') }}
