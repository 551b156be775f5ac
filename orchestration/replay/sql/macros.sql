-- Sums of the two sides of a comparison; a side without rows is 0.
create macro before_sum(side, amount) as coalesce(sum(amount) filter (where side = 'before'), 0);
create macro after_sum(side, amount) as coalesce(sum(amount) filter (where side = 'after'), 0);

-- An amount as an integer of one millionth.
create macro micro(amount) as cast(cast(amount as decimal(38, 6)) * 1000000 as hugeint);

-- One amount per another to 6 decimals, rounded half away from zero; NULL per nothing.
create macro per(amount, other) as cast(
    cast(
        sign(micro(amount)) * sign(micro(other))
        * ((2 * abs(micro(amount)) * 1000000 + abs(micro(other))) // nullif(2 * abs(micro(other)), 0))
        as decimal(32, 0)
    ) * 0.000001 as decimal(38, 6)
);
