-- what people have: carts, orders, shipments, returns, and what became of their messages
CREATE TABLE journey.cart (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    cart_id text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,             -- open, ordered, emptied, deleted
    items numeric NOT NULL DEFAULT 0, -- sum of quantities
    lines integer NOT NULL DEFAULT 0,
    value numeric NOT NULL DEFAULT 0, -- sum of quantity x price
    currency text,
    order_id text,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,  -- occurred_at of the last change
    PRIMARY KEY (bucket, profile_id, scope, cart_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.cart_line (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    cart_id text NOT NULL,
    line text NOT NULL,               -- line key of the shop, else the sku
    sku text NOT NULL,
    quantity numeric NOT NULL,
    price numeric,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, cart_id, line)
);
CREATE TABLE journey.orders (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    order_id text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,             -- pending, placed, paid, shipped, delivered, cancelled, refunded, returned
    origin text,                      -- web, pos, subscription, exchange, marketplace
    amount numeric,
    currency text,
    cart_id text,
    codes text[],
    placed_at timestamptz,
    cancelled_at timestamptz,
    seq bigint NOT NULL,              -- of the last applied change
    props jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, order_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.order_line (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    order_id text NOT NULL,
    line text NOT NULL,
    sku text NOT NULL,
    quantity numeric NOT NULL,
    price numeric,
    status text NOT NULL,             -- placed, returned, cancelled
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, order_id, line)
);
CREATE TABLE journey.shipment (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    shipment_id text NOT NULL,
    source text NOT NULL,
    order_id text,
    status text NOT NULL,             -- pending, shipped, ready, delivered, picked_up, failed, cancelled
    status_at timestamptz NOT NULL,
    shipped_at timestamptz,
    ready_at timestamptz,
    delivered_at timestamptz,         -- or picked up
    promised_at timestamptz,
    expected_at timestamptz,
    delayed_to timestamptz,           -- the expected time that was last told as a delay
    seq bigint NOT NULL,              -- of the last applied change
    props jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, shipment_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.returns (
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    scope text NOT NULL,
    return_id text NOT NULL,
    source text NOT NULL,
    order_id text,
    status text NOT NULL,             -- requested, approved, received, rejected, cancelled
    status_at timestamptz NOT NULL,
    requested_at timestamptz,
    approved_at timestamptz,
    received_at timestamptz,
    reason text,
    seq bigint NOT NULL,              -- of the last applied change
    props jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, profile_id, scope, return_id)
) WITH (fillfactor = 80);
CREATE TABLE journey.message_event (  -- what became of an action after it was sent
    bucket smallint NOT NULL,
    profile_id uuid NOT NULL,
    action_id uuid NOT NULL,
    type text NOT NULL,               -- message_delivered, message_opened, message_clicked, message_bounced, message_complained, message_replied, unsubscribed
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    machine boolean NOT NULL DEFAULT false,
    props jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (bucket, profile_id, action_id, type, event_id)
);

-- comments

COMMENT ON TABLE journey.cart IS 'Carts. Value and number of items are the sums over the lines.';
COMMENT ON COLUMN journey.cart.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.cart.profile_id IS 'The person who last named it.';
COMMENT ON COLUMN journey.cart.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.cart.cart_id IS 'Id in the shop.';
COMMENT ON COLUMN journey.cart.source IS 'Source.';
COMMENT ON COLUMN journey.cart.status IS 'open, ordered, emptied or deleted.';
COMMENT ON COLUMN journey.cart.items IS 'Sum of quantities.';
COMMENT ON COLUMN journey.cart.lines IS 'Number of lines.';
COMMENT ON COLUMN journey.cart.value IS 'Sum of quantity times price.';
COMMENT ON COLUMN journey.cart.currency IS 'Currency of the value.';
COMMENT ON COLUMN journey.cart.order_id IS 'Order that came out of it.';
COMMENT ON COLUMN journey.cart.created_at IS 'When first seen.';
COMMENT ON COLUMN journey.cart.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.cart_line IS 'Lines of carts.';
COMMENT ON COLUMN journey.cart_line.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.cart_line.profile_id IS 'The person.';
COMMENT ON COLUMN journey.cart_line.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.cart_line.cart_id IS 'Cart.';
COMMENT ON COLUMN journey.cart_line.line IS 'Line in the shop, else the sku.';
COMMENT ON COLUMN journey.cart_line.sku IS 'Product.';
COMMENT ON COLUMN journey.cart_line.quantity IS 'How many.';
COMMENT ON COLUMN journey.cart_line.price IS 'Price of one; null = unknown.';
COMMENT ON COLUMN journey.cart_line.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.orders IS 'Orders.';
COMMENT ON COLUMN journey.orders.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.orders.profile_id IS 'The buyer.';
COMMENT ON COLUMN journey.orders.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.orders.order_id IS 'Id in the shop.';
COMMENT ON COLUMN journey.orders.source IS 'Source.';
COMMENT ON COLUMN journey.orders.status IS 'pending, placed, paid, shipped, delivered, cancelled, refunded or returned.';
COMMENT ON COLUMN journey.orders.origin IS 'web, pos, subscription, exchange or marketplace.';
COMMENT ON COLUMN journey.orders.amount IS 'Total.';
COMMENT ON COLUMN journey.orders.currency IS 'Currency of the total.';
COMMENT ON COLUMN journey.orders.cart_id IS 'Cart it came from.';
COMMENT ON COLUMN journey.orders.codes IS 'Codes that were used.';
COMMENT ON COLUMN journey.orders.placed_at IS 'When it was placed; null = not yet.';
COMMENT ON COLUMN journey.orders.cancelled_at IS 'When it was cancelled; null = it stands.';
COMMENT ON COLUMN journey.orders.seq IS 'Order of capture of the last change.';
COMMENT ON COLUMN journey.orders.props IS 'Further columns of the map.';
COMMENT ON COLUMN journey.orders.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.order_line IS 'Lines of orders.';
COMMENT ON COLUMN journey.order_line.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.order_line.profile_id IS 'The person.';
COMMENT ON COLUMN journey.order_line.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.order_line.order_id IS 'Order.';
COMMENT ON COLUMN journey.order_line.line IS 'Line in the shop, else the sku.';
COMMENT ON COLUMN journey.order_line.sku IS 'Product.';
COMMENT ON COLUMN journey.order_line.quantity IS 'How many.';
COMMENT ON COLUMN journey.order_line.price IS 'Price of one; null = unknown.';
COMMENT ON COLUMN journey.order_line.status IS 'placed, returned or cancelled.';
COMMENT ON COLUMN journey.order_line.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.shipment IS 'Shipments and pick-ups, with their milestones.';
COMMENT ON COLUMN journey.shipment.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.shipment.profile_id IS 'The buyer.';
COMMENT ON COLUMN journey.shipment.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.shipment.shipment_id IS 'Id in the shop; of an event that names none, that of its order.';
COMMENT ON COLUMN journey.shipment.source IS 'Source.';
COMMENT ON COLUMN journey.shipment.order_id IS 'Order it is of; null = unknown.';
COMMENT ON COLUMN journey.shipment.status IS 'pending, shipped, ready (to be picked up), delivered, picked_up, failed or cancelled.';
COMMENT ON COLUMN journey.shipment.status_at IS 'When the status was reached.';
COMMENT ON COLUMN journey.shipment.shipped_at IS 'When it left; null = not yet, or unknown.';
COMMENT ON COLUMN journey.shipment.ready_at IS 'When it could be picked up; null = not yet, or unknown.';
COMMENT ON COLUMN journey.shipment.delivered_at IS 'When it arrived or was picked up; null = not yet, or unknown.';
COMMENT ON COLUMN journey.shipment.promised_at IS 'When it was promised for.';
COMMENT ON COLUMN journey.shipment.expected_at IS 'When it is expected.';
COMMENT ON COLUMN journey.shipment.delayed_to IS 'The expected time that was last told as a delay; null = none was.';
COMMENT ON COLUMN journey.shipment.seq IS 'Order of capture of the last change.';
COMMENT ON COLUMN journey.shipment.props IS 'Further columns of the map.';
COMMENT ON COLUMN journey.shipment.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.returns IS 'Returns, with their milestones.';
COMMENT ON COLUMN journey.returns.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.returns.profile_id IS 'The buyer.';
COMMENT ON COLUMN journey.returns.scope IS 'Scope: brand, shop or country.';
COMMENT ON COLUMN journey.returns.return_id IS 'Id in the shop; of an event that names none, that of its order and product.';
COMMENT ON COLUMN journey.returns.source IS 'Source.';
COMMENT ON COLUMN journey.returns.order_id IS 'Order it is of; null = unknown.';
COMMENT ON COLUMN journey.returns.status IS 'requested, approved, received, rejected or cancelled.';
COMMENT ON COLUMN journey.returns.status_at IS 'When the status was reached.';
COMMENT ON COLUMN journey.returns.requested_at IS 'When it was asked for; null = unknown.';
COMMENT ON COLUMN journey.returns.approved_at IS 'When it was agreed to; null = not yet, or unknown.';
COMMENT ON COLUMN journey.returns.received_at IS 'When it arrived; null = not yet.';
COMMENT ON COLUMN journey.returns.reason IS 'Why, in the shop''s words.';
COMMENT ON COLUMN journey.returns.seq IS 'Order of capture of the last change.';
COMMENT ON COLUMN journey.returns.props IS 'Further columns of the map.';
COMMENT ON COLUMN journey.returns.changed_at IS 'Time of the last change.';
COMMENT ON TABLE journey.message_event IS 'What became of actions after they were sent.';
COMMENT ON COLUMN journey.message_event.bucket IS 'Bucket of the profile: journey.bucket(profile_id).';
COMMENT ON COLUMN journey.message_event.profile_id IS 'The person.';
COMMENT ON COLUMN journey.message_event.action_id IS 'The action.';
COMMENT ON COLUMN journey.message_event.type IS 'message_delivered, message_opened, message_clicked, message_bounced, message_complained, message_replied or unsubscribed.';
COMMENT ON COLUMN journey.message_event.at IS 'When it happened.';
COMMENT ON COLUMN journey.message_event.event_id IS 'The event.';
COMMENT ON COLUMN journey.message_event.machine IS 'By a machine, such as a mail proxy: changes no decision.';
COMMENT ON COLUMN journey.message_event.props IS 'As received.';
