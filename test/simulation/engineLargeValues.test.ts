/** Objects far above what a row of Table Storage takes, from one directory to the other, over the real engine. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { Attributes } from "../../src/engine/core/values.ts";
import { changedRecipe, withLines } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId } from "../support/engineWorld.ts";

const many = Array.from({ length: 300 }, (_, index) => `extra${index}`);
const names = ["photo", "otherMobile", ...many];
const typeOf = (name: string) =>
  name === "photo" ? "type: binary" : name === "otherMobile" ? "multiValued: true" : "type: string";

const inserted = new Map([
  ["connectors/AADMA.yaml", names.map((name) => `      - ${name}`)],
  ["connectors/ADMA.yaml", names.map((name) => `      - ${name}`)],
  ["metaverse.yaml", names.map((name) => `      - { name: ${name}, ${typeOf(name)} }`)],
  ["rules/AAD-B2B-IN.yaml", names.map((name) => `  - { target: ${name}, source: ${name} }`)],
  ["rules/AD-B2B-OUT.yaml", names.map((name) => `  - { target: ${name}, source: ${name} }`)],
]);

/** The recipe with more attributes, each of which flows as it is. */
const configuration = changedRecipe((path, text) => withLines(path, text, inserted.get(path) ?? []));

const large = (number: number): Attributes => ({
  photo: new Uint8Array(1_048_576).map((_, index) => (index * 31 + number) % 251),
  otherMobile: Array.from({ length: 5000 }, (_, index) => `+47 ${number} ${index} 😀`),
  ...Object.fromEntries(many.map((name, index) => [name, `${name} of ${number} ${"ø".repeat(index)}`])),
});

/** With the photo's hash in its place, which is compared faster. */
const hashed = ({ photo, ...rest }: Attributes) => ({
  ...rest,
  photo: createHash("sha256")
    .update(photo as Uint8Array)
    .digest("hex"),
});

test("a photo of 1 MiB, 5,000 values and 300 attributes arrive as they are, and leave no rest", async () => {
  const world = new EngineWorld({ configuration });
  for (const directory of [world.guests, world.accounts]) {
    for (const name of names) directory.allow(name, name === "photo" ? "binary" : "string");
  }
  world.addGuest(1, large(1));
  world.addGuest(2);
  expect((await world.cycle("initial")).status).toBe("success");
  const account = () => hashed(world.accountsOf(guestId(1))[0]!.attributes);
  expect(account()).toMatchObject(hashed(large(1)));
  expect(world.wrong()).toEqual([]);
  expect(await world.outstanding()).toEqual([]);

  world.guests.change(guestId(1), { photo: large(3).photo, otherMobile: ["+47 1"], extra7: undefined });
  await world.cycle("delta");
  expect(account()).toMatchObject({ photo: hashed(large(3)).photo, otherMobile: ["+47 1"] });
  expect(account()).not.toHaveProperty("extra7");
  expect(await world.outstanding()).toEqual([]);
  expect(world.accounts.writes.splice(0)).toHaveLength(3);
  await world.cycle("initial");
  expect(world.accounts.writes).toEqual([]);

  // Every row of a text that is too long for its own row belongs to what is there now.
  for (const table of ["connectorspace", "metaverse"]) {
    const rows = await world.tables.rows(table);
    const wanted = rows.flatMap(({ properties }) =>
      Object.entries(properties).flatMap(([name, value]) =>
        name.endsWith("_spill") ? [String(value).split(":")[0]!] : [],
      ),
    );
    const held = rows.filter(({ row }) => row.startsWith("s|")).map(({ row }) => row.split("|")[1]!);
    expect(new Set(held)).toEqual(new Set(wanted));
    expect(held.length).toBeGreaterThan(40);
  }
});
