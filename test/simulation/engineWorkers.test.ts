/**
 * Eight processes end where one ends: any population of two sources that know the same persons by different attributes,
 * any order of requests. Only which of equal racers won may differ.
 */
import { globSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { RunInTheWay } from "../../src/engine/stores/runs.ts";
import { anyKinds, recipeSettings, withoutRulesConnector } from "../fast/support/guestWorld.ts";
import { CountedTables, EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";
import { MemoryConnector, MemoryDirectory } from "../support/memoryConnector.ts";

const personnel = `name: HRMA
kind: graph
objectTypes:
  - name: employee
    attributes: [number, guest, address, name]
`;
const personnelRule = `name: HR-IN
direction: inbound
connector: HRMA
connectorObjectType: employee
metaverseObjectType: person
linkType: provision
precedence: 50
join:
  - - { connectorAttribute: guest, metaverseAttribute: uid }
flows:
  - { target: email, source: address }
  - { target: displayName, source: name }
  - { target: accountInfo, source: number }
`;

/** The recipe with a personnel system, which finds persons by the guest's id; guests find theirs by their address. */
function configurationOf() {
  const texts = globSync("config/{connectors,rules,cycles,.}/*.yaml").map((file) => {
    const text = readFileSync(file, "utf8");
    if (!file.endsWith("AAD-B2B-IN.yaml")) return { file, text };
    const join = "join:\n  - - { connectorAttribute: mail, metaverseAttribute: email }";
    return { file, text: text.replace("join:", join) };
  });
  return withoutRulesConnector(
    readConfiguration(
      [
        ...texts,
        { file: "config/connectors/HRMA.yaml", text: personnel },
        { file: "config/rules/HR-IN.yaml", text: personnelRule },
      ],
      recipeSettings,
      anyKinds,
    ),
  );
}
const configuration = configurationOf();

interface Population {
  /** Guests and employees of the same number are the same person. */
  readonly guests: readonly number[];
  readonly employees: readonly number[];
  /** Guests for whom a script has left an account behind. */
  readonly left: readonly number[];
  /** Two guests, one UPN: only one of them can have it. */
  readonly racers: readonly (readonly [number, number])[];
  readonly changed: readonly number[];
  readonly seed: number;
}

const number = fc.nat(11);
const numbers = fc.uniqueArray(number, { maxLength: 12 });
const populations: fc.Arbitrary<Population> = fc.record({
  guests: fc.uniqueArray(number, { minLength: 1, maxLength: 12 }),
  employees: numbers,
  left: fc.uniqueArray(number, { maxLength: 4 }),
  racers: fc.array(fc.tuple(fc.constant(20), fc.constant(21)), { maxLength: 1 }),
  changed: numbers,
  seed: fc.integer({ min: 1, max: 1_000_000 }),
});

const addressOf = (one: number) => `${guestId(one)}@example.org`;
const racersUpn = "racers@corp.example";

function worldOf({ guests, employees, left, racers }: Population): {
  readonly world: EngineWorld;
  readonly hr: MemoryDirectory;
} {
  const hr = new MemoryDirectory({
    objectType: "employee",
    attributes: { number: "string", guest: "string", address: "string", name: "string" },
    unique: [],
    stamp: null,
  });
  hr.counts = true;
  let world: EngineWorld | null = null;
  world = new EngineWorld({
    configuration,
    tables: new CountedTables(),
    open: (name) => (name === "HRMA" ? new MemoryConnector(hr, { turn: () => world?.turn(-1) }) : undefined),
  });
  for (const one of guests) world.addGuest(one);
  for (const pair of racers) for (const one of pair) world.addGuest(one, { userPrincipalName: racersUpn });
  for (const one of left) {
    const adminDescription = `User_${guestId(one)}`;
    world.accounts.add(`CN=Left ${one},${guestOu}`, { adminDescription, userAccountControl: 262656n });
  }
  for (const one of employees) {
    const values = {
      number: `E${one}`,
      guest: guestId(one),
      address: addressOf(one),
      name: `Employee ${one}`,
    };
    hr.add(`E${one}`, values, `E${one}`);
  }
  return { world, hr };
}

/** Lets requests wait for others in an order of its own. */
function shuffle(world: EngineWorld, seed: number): void {
  let state = seed;
  world.turn = () => {
    state = (state * 48_271) % 2_147_483_647;
    const turns = state % 4;
    return turns === 0 ? undefined : waited(turns, state % 5 === 0);
  };
}

async function waited(turns: number, long: boolean): Promise<void> {
  for (let turn = turns; turn > 0; turn--) await Promise.resolve();
  if (long) await new Promise(setImmediate);
}

/** Both sources are imported at a time, and synchronised in the order in which they are let in. */
async function live(world: EngineWorld, hr: MemoryDirectory, { changed }: Population, workers: number) {
  const engines = Array.from({ length: workers }, () => world.newEngine());
  const together = async (...starts: (readonly [connector: string, profile: string])[]): Promise<void> => {
    for (let left = starts; left.length > 0; ) {
      world.now += 1000;
      const begun = await Promise.all(
        left.map(async ([connector, profile], index) => {
          try {
            await engines[index % workers]!.startProfile(connector, profile, "http");
            return true;
          } catch (error) {
            if (error instanceof RunInTheWay) return false;
            throw error;
          }
        }),
      );
      await world.together(engines);
      left = left.filter((_, index) => !begun[index]);
    }
  };
  for (const kind of ["Full", "Delta", "Delta"]) {
    const synchronization = `${kind} Synchronization`;
    const stage = `${kind} Import (Stage Only)`;
    await together(["AADMA", stage], ["HRMA", stage], ["ADMA", stage]);
    await together(["AADMA", synchronization], ["HRMA", synchronization]);
    await together(["ADMA", synchronization]);
    await together(["ADMA", "Export"]);
    await together(["ADMA", "Delta Import (Stage Only)"]);
    await together(["ADMA", "Delta Synchronization"]);
    if (kind === "Full")
      for (const one of changed) {
        if (world.guests.objects.has(guestId(one))) world.guests.change(guestId(one), { givenName: "Other" });
        if (hr.objects.has(`E${one}`)) hr.change(`E${one}`, { name: `Renamed ${one}` });
      }
  }
}

/** Everything but ids that the order decides; racers by what they have between them. */
async function ending(world: EngineWorld) {
  const isRacer = (text: unknown) => [20, 21].some((one) => String(text).includes(guestId(one)));
  const json = (value: unknown) =>
    JSON.stringify(value, (_, one) => (typeof one === "bigint" ? String(one) : one));
  const accounts = world.accounts.listed().map(({ dn, attributes }) => {
    const { objectGUID, objectSid, ...rest } = attributes;
    return isRacer(dn) ? "a racer" : json([dn, Object.entries(rest).sort()]);
  });
  const persons: string[] = [];
  const objects = new Map<string, string>();
  for (const connector of ["AADMA", "HRMA", "ADMA"]) {
    for (const shard of "0123456789abcdef") {
      for await (const { object } of world.engine.connectorSpace.range(connector, shard))
        objects.set(`${connector}/${object.id}`, `${connector} ${object.dn}`);
    }
  }
  for (const shard of "0123456789abcdef") {
    for await (const { object } of world.engine.metaverse.range(shard)) {
      const values = Object.entries(object.attributes)
        .filter(([name]) => !["objectGUID", "objectSid"].includes(name))
        .map(([name, { value, connector, rule }]) => [name, value, connector, rule]);
      const connectors = object.connectors.map(({ connector, id }) => objects.get(`${connector}/${id}`));
      persons.push(
        isRacer(object.attributes.uid?.value) ? "a racer" : json([values.sort(), connectors.sort()]),
      );
    }
  }
  const open = (await world.outstanding(["AADMA", "HRMA", "ADMA"])).filter((one) => !isRacer(one));
  return { accounts: accounts.sort(), persons: persons.sort(), objects: objects.size, open };
}

test("eight processes end where one ends, two sources that know a new person by different attributes included", async () => {
  let met = 0;
  await fc.assert(
    fc.asyncProperty(populations, async (population) => {
      const alone = worldOf(population);
      await live(alone.world, alone.hr, population, 1);
      const one = await ending(alone.world);
      const many = worldOf(population);
      shuffle(many.world, population.seed);
      await live(many.world, many.hr, population, 8);
      expect(await ending(many.world)).toEqual(one);
      // One person for each, whoever knew it first.
      const { guests, employees, racers } = population;
      const wanted = new Set([...guests, ...employees, ...racers.flat()]).size;
      expect(one.persons).toHaveLength(wanted);
      met += guests.filter((guest) => employees.includes(guest)).length;
    }),
    { numRuns: 15 },
  );
  expect(met).toBeGreaterThan(0);
}, 120_000);
