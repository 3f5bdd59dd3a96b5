-- A tenant may be renamed. `origin` is the id that it was made under, which keys handed to other systems begin with:
-- null while that is its id. The tombstone that stays under the old id says what the tenant is called now.
ALTER TABLE insula.tenant
    ADD COLUMN origin text,
    ADD COLUMN renamed_to text;
