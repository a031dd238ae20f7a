-- A shop of 2,000 people: a reminder a second after a cart, a confirmation for each order.
CREATE EXTENSION journey;
SELECT journey.install();
SELECT journey.adopt();
SELECT journey.apply('[
  {"kind": "channel", "name": "soak", "mode": "push"},
  {"kind": "template", "name": "soak_text", "channels": ["soak"], "variables": {"about": "text"},
   "content": {"en": {"subject": "About {{about}}", "body": "{{about}}"}}},
  {"kind": "feature", "name": "views_7d", "on": "product_viewed", "aggregate": "count", "window": "7 days"},
  {"kind": "feature", "name": "skus", "on": "product_viewed", "aggregate": "distinct", "of": "sku"},
  {"kind": "journey", "name": "soak_cart", "scope": "*", "purpose": "service", "stage": "purchase",
   "objective": "bring back carts", "kpi": "cart_recovery_rate", "owners": {"business": "crm", "technical": "data", "qa": "qa"},
   "entry": [{"on": "cart_item_added", "key": "cart", "when": "event.quantity > 0 and views_7d >= 0", "data": {"sku": "event.sku"}}],
   "reentry": {"per": "key", "after": "0"},
   "exit": [{"on": "order_placed", "reason": "ordered"}], "suppress_on": ["order_placed"],
   "control": {"none": true, "reason": "a soak"}, "priority": 10,
   "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "1 day"},
   "steps": {"idle": {"wait": {"for": "1 second"}, "next": "remind"},
             "remind": {"send": {"channel": "soak", "template": "soak_text", "data": {"about": "entry.sku"}}, "next": "done"},
             "done": {"exit": "finished"}}},
  {"kind": "journey", "name": "soak_order", "scope": "*", "purpose": "transactional", "stage": "fulfillment",
   "objective": "confirm orders", "kpi": "where_is_my_order_rate", "owners": {"business": "service", "technical": "data", "qa": "qa"},
   "entry": [{"on": "order_placed", "key": "order", "data": {"order_id": "event.order_id"}}],
   "reentry": {"per": "key", "after": "never"}, "control": {"none": true, "reason": "nobody is left without"}, "priority": 100,
   "defaults": {"on_refused": "done", "on_failed": "done", "on_unknown": "done", "not_after": "1 day"},
   "steps": {"confirm": {"send": {"channel": "soak", "template": "soak_text", "data": {"about": "entry.order_id"}}, "next": "done"},
             "done": {"exit": "finished"}}}
]'::jsonb);
SELECT journey.resume();
