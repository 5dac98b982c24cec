/** Accounts that are there already are found whatever rules join on, and whenever they began to. */
import { expect, test } from "vitest";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import { changedRecipe, recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu, guestValues } from "../support/engineWorld.ts";

/** Another deployment of the same installation. */
function deploy(world: EngineWorld, configuration: Configuration): void {
  world.configuration = configuration;
  world.restart();
}

const joining = (
  attribute: string,
  metaverseAttribute: string,
  changes: (text: string) => string = (t) => t,
) =>
  changedRecipe((path, text) =>
    path === "rules/AD-B2B-IN.yaml"
      ? text.replace(
          "\nflows:",
          `\n  - - { connectorAttribute: ${attribute}, metaverseAttribute: ${metaverseAttribute} }\nflows:`,
        )
      : path === "metaverse.yaml"
        ? changes(text)
        : text,
  );

async function withAccount(attributes: Record<string, string | bigint>): Promise<EngineWorld> {
  const world = new EngineWorld({ configuration: recipe });
  world.addGuest(0);
  world.accounts.add(`CN=Left Behind,${guestOu}`, {
    sAMAccountName: "left",
    userAccountControl: 262656n,
    ...attributes,
  });
  await world.cycle("initial");
  return world;
}

const adopted = (world: EngineWorld) =>
  world.accounts.listed().filter(({ dn }) => dn.startsWith("CN=Left Behind")).length === 1 &&
  world.accountsOf(guestId(1)).length === 1 &&
  world.accounts.writes.every((write) => !write.startsWith(`add CN=${guestId(1)}`));

test("a guest who comes after the account adopts it by any join of the inbound rules, by a delta cycle too", async () => {
  const { userPrincipalName } = guestValues(guestId(1));
  const world = await withAccount({ userPrincipalName: String(userPrincipalName) });
  world.addGuest(1);
  const run = await world.cycle("delta");
  expect(run.status).toBe("success");
  expect(adopted(world)).toBe(true);
  expect(world.wrong()).toEqual([]);
});

test("what was imported before rules joined on an attribute is found by it after their full synchronisation", async () => {
  const world = await withAccount({ mail: "one@example.org" });
  deploy(world, joining("mail", "email"));
  await world.cycle("delta");
  world.addGuest(1, { mail: "ONE@example.org" });
  await world.cycle("delta");
  expect(adopted(world)).toBe(true);
});

test("persons from before an attribute of the metaverse was indexed are joined by it, and found by a search", async () => {
  const world = await withAccount({ displayName: "nobody" });
  world.addGuest(1, { displayName: "Guest One" });
  await world.cycle("delta");
  await world.cycle("delta");
  const [own] = world.accountsOf(guestId(1));
  world.accounts.remove(own!.anchor);
  world.accounts.change(world.accounts.listed().find(({ dn }) => dn.startsWith("CN=Left"))!.anchor, {
    displayName: "guest one",
  });
  world.accounts.writes.length = 0;
  const indexed = (text: string) =>
    text.replace("{ name: displayName }", "{ name: displayName, indexed: true }");
  deploy(world, joining("displayName", "displayName", indexed));
  await world.profile("ADMA", "Delta Import (Stage Only)");
  await world.profile("ADMA", "Delta Synchronization");
  await world.cycle("delta");
  expect(await world.engine.metaverse.findByIndex("displayName", "Guest One")).toHaveLength(1);
  expect(adopted(world)).toBe(true);
});

test("indexing goes on where a process died or its time was over", async () => {
  const world = await withAccount({ mail: "one@example.org" });
  (world.options as { timings?: object }).timings = { budgetMs: 0 };
  deploy(world, joining("mail", "email"));
  world.restart(25);
  world.lifeOfEach = 25;
  await world.cycle("delta");
  expect(world.crashes).toBeGreaterThan(0);
  world.lifeOfEach = Number.POSITIVE_INFINITY;
  world.addGuest(1, { mail: "one@example.org" });
  await world.cycle("delta");
  expect(adopted(world)).toBe(true);
});

test("an account is not adopted by one of two persons whom it would join, nor when the filter leaves it out", async () => {
  const { userPrincipalName } = guestValues(guestId(1));
  const world = await withAccount({ userPrincipalName: "two@corp.example" });
  for (const number of [1, 2]) world.addGuest(number, { userPrincipalName: "two@corp.example" });
  await world.cycle("delta");
  expect(world.accounts.listed().find(({ dn }) => dn.startsWith("CN=Left"))!.attributes).not.toHaveProperty(
    "adminDescription",
  );

  const filtered = changedRecipe((path, text) =>
    path === "connectors/ADMA.yaml"
      ? `${text}\nfilter:\n  - - { attribute: sAMAccountName, operator: EQUAL, value: left }\n`
      : text,
  );
  const other = new EngineWorld({ configuration: filtered });
  other.addGuest(0);
  other.accounts.add(`CN=Left Behind,${guestOu}`, {
    sAMAccountName: "left",
    userPrincipalName: userPrincipalName!,
  });
  await other.cycle("initial");
  other.addGuest(1);
  expect((await other.cycle("delta")).status).toBe("completed-export-errors");
  expect(other.accounts.listed().find(({ dn }) => dn.startsWith("CN=Left"))!.attributes).toEqual(
    expect.not.objectContaining({ adminDescription: expect.anything() }),
  );
});
