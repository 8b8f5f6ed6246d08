package intaglio

default decision := {"allow": false, "reason": "nothing allows it"}

decision := {"allow": true, "mode": "and", "limits": {"uses_per_day": 3}} if {
	input.tenant == "acme"
	input.operation in {"sign", "verify"}
	startswith(input.purpose, "invoices")
}
