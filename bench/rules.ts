/** How fast rules are: expressions against walking their trees and against TypeScript, and whole synchronisations. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { loadConfiguration } from "../src/engine/configuration/loadConfiguration.ts";
import type { Configuration, SettingsSchema } from "../src/engine/core/configuration.ts";
import type { EvaluationContext, Result } from "../src/engine/core/expression/expression.ts";
import { own } from "../src/engine/core/flow.ts";
import { parametersOf } from "../src/engine/core/inbound.ts";
import type { ConnectorSpaceObject } from "../src/engine/core/model.ts";
import type { Attributes, AttributeValue } from "../src/engine/core/values.ts";
import { dateTimeFromMs } from "../src/engine/core/values.ts";
import { type Measured, measure, median, ratio, table } from "./measure.ts";
import { type Family, flow, imported, now, place, settled } from "./population.ts";
import { handWritten } from "./recipeFlows.ts";
import { loadSample, sampleUser } from "./sample.ts";
import { treeWalk } from "./treeWalk.ts";

const anySettings: SettingsSchema = { safeParse: (data) => ({ success: true, data }) };
const recipeSettings = {
  AD_URL: "ldaps://dc1.corp.example",
  AD_BIND_DN: "svc@corp.example",
  AD_BIND_PASSWORD: "none",
  AD_BASE_DN: "DC=corp,DC=example",
  GUEST_OU: "OU=Guests,DC=corp,DC=example",
};

export async function run(): Promise<void> {
  const recipe = loadConfiguration(
    "config",
    recipeSettings,
    new Map([
      ["graph", anySettings],
      ["ad", anySettings],
    ]),
  );
  const guests = Array.from({ length: 1_000 }, (_, index) => guest(index));
  const families = guests.map((attributes) => {
    const object = imported("AADMA", attributes.id, { objectType: "user", dn: attributes.id, attributes });
    const family = settled(object, recipe, accountOf);
    assert(family !== null);
    return family;
  });
  expressions(recipe, guests, families);
  synchronisations("The recipe's 3 rules, 30 flows", recipe, "AADMA", families);
  sampleRules();
}

/** Users of an Active Directory through the rules of an Entra Connect export, taken over. */
function sampleRules(): void {
  const sample = loadSample();
  if (typeof sample === "string") {
    console.log(`The 24 sample rules: left out. ${sample}`);
    return;
  }
  const { configuration, connector } = sample;
  const families = Array.from({ length: 300 }, (_, index) => {
    const user = sampleUser(index, sample.attributes);
    const object = imported(connector, user.dn, {
      objectType: "user",
      dn: user.dn,
      attributes: user.attributes,
    });
    const family = settled(object, configuration, () => ({}));
    assert(family?.objects.length === 2, "A sample user is not provisioned.");
    return family;
  });
  const { rules } = configuration.rules;
  const applying = rules.filter(
    ({ connectorObjectType, metaverseObjectType }) =>
      connectorObjectType === "user" && metaverseObjectType === "person",
  );
  const flows = applying.reduce((sum, rule) => sum + rule.flows.length, 0);
  const title = `The ${rules.length} sample rules (for a user ${applying.length}, ${flows} flows)`;
  synchronisations(title, configuration, connector, families);
}

interface Guest extends Attributes {
  readonly id: string;
}

function guest(index: number): Guest {
  const name = `guest${index}`;
  return {
    id: randomBytes(16)
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
    userPrincipalName: `${name}_example.org#EXT#@corp.example`,
    displayName: `Guest ${index}`,
    givenName: "Guest",
    surname: `Number ${index}`,
    mail: `${name}@example.org`,
    userType: "Guest",
    accountEnabled: index % 20 !== 0,
    externalUserState: index % 10 === 0 ? "PendingAcceptance" : "Accepted",
  };
}

/** What Active Directory sets in a new account. */
function accountOf(object: ConnectorSpaceObject): Record<string, AttributeValue> {
  return {
    cn: object.dn.slice(3).split(",", 1)[0]!,
    objectGUID: randomBytes(16),
    objectSid: randomBytes(28),
  };
}

// ---- expressions ---------------------------------------------------------------------------------------------------

function expressions(recipe: Configuration, guests: readonly Guest[], families: readonly Family[]): void {
  const rows = [
    ["flow", "compiled", "walking its tree", "by hand", "compiled / by hand", "walking / compiled"],
  ];
  const all: (readonly Measured[])[] = [];
  for (const rule of recipe.rules.rules) {
    for (const flowOfRule of rule.flows) {
      if (flowOfRule.kind !== "expression") continue;
      const name = `${rule.name} ${flowOfRule.target}`;
      const { compiled } = flowOfRule;
      const byHand = handWritten[name];
      assert(byHand !== undefined, `bench/recipeFlows.ts has nothing for ${name}.`);
      const contexts =
        rule.direction === "inbound"
          ? guests.map((values, index) => contextOf(recipe, rule.connector, { ...values, ...absence(index) }))
          : families.map(({ metaverse }, index) =>
              contextOf(recipe, rule.connector, {
                ...Object.fromEntries(
                  Object.entries(metaverse.attributes).map(([key, { value }]) => [key, value]),
                ),
                ...absence(index),
              }),
            );
      const ways: Record<string, (context: EvaluationContext) => Result> = {
        compiled: (context) => compiled.evaluate(context),
        tree: (context) => treeWalk(compiled.ast, "aadc", context),
        hand: byHand,
      };
      for (const context of contexts) {
        assert.deepEqual(byHand(context), compiled.evaluate(context), name);
        assert.deepEqual(treeWalk(compiled.ast, "aadc", context), compiled.evaluate(context), name);
      }
      const times = 8;
      const work = Object.fromEntries(
        Object.entries(ways).map(([way, evaluate]) => [
          way,
          () => {
            for (let time = 0; time < times; time++) for (const context of contexts) sink = evaluate(context);
          },
        ]),
      );
      const measured = measure(work, contexts.length * times, { rounds: 25, warmUps: 10 });
      all.push(measured);
      rows.push(row(name, measured));
    }
  }
  rows.push(row("all of them", summed(all)));
  console.log(`Expressions of the recipe, ns for one object (median):\n${table(rows)}\n`);
}

function summed(all: readonly (readonly Measured[])[]): readonly Measured[] {
  return all[0]!.map(({ name, rounds }, way) => {
    const sums = rounds.map((_, round) => all.reduce((sum, one) => sum + one[way]!.rounds[round]!, 0));
    return { name, nanoseconds: median(sums), rounds: sums };
  });
}

/** Results go here, so that nothing measured is left out as without effect. */
export let sink: unknown;

function row(name: string, measured: readonly Measured[]): string[] {
  const [compiled, tree, hand] = measured as [Measured, Measured, Measured];
  return [
    name,
    ...measured.map(({ nanoseconds }) => nanoseconds.toFixed(0)),
    ratio(compiled, hand).toFixed(1),
    ratio(tree, compiled).toFixed(1),
  ];
}

function absence(index: number): Attributes {
  if (index % 25 !== 0) return {};
  return { absence: "softDeleted", absentSince: dateTimeFromMs(Date.UTC(2026, 0, 1, 12, index % 60)) };
}

function contextOf(recipe: Configuration, connector: string, values: Attributes): EvaluationContext {
  return {
    attribute: (name) => own(values, name),
    parameter: parametersOf(connector, recipe),
    now,
    random: () => 0.5,
  };
}

// ---- synchronisations ----------------------------------------------------------------------------------------------

/** Full synchronisation of objects that have not changed, of changed ones, and of new ones. */
function synchronisations(
  title: string,
  configuration: Configuration,
  connector: string,
  families: readonly Family[],
): void {
  const isSource = (object: ConnectorSpaceObject) => object.connector === connector;
  const changed = families.map(
    ({ metaverse, objects }): Family => ({
      metaverse,
      objects: objects.map((object) => {
        if (!isSource(object)) return object;
        const image = object.synchronized!;
        const attributes = { ...image.attributes, displayName: "Renamed" };
        return { ...object, pendingImport: { change: "update", image: { ...image, attributes } } };
      }),
    }),
  );
  const added = families.map(({ objects }) => {
    const { anchor, synchronized } = objects.find(isSource)!;
    return imported(connector, anchor!, synchronized!);
  });
  const each = (all: readonly Family[]) => () => {
    for (const family of all) sink = flow(family, connector, configuration);
  };
  const measured = measure(
    {
      unchanged: each(families),
      "one attribute changed": each(changed),
      "new: scope, projection, flows, provisioning": () => {
        for (const object of added) sink = place(object, configuration);
      },
    },
    families.length,
  );
  const rows = [
    [title, "µs for one object", "objects a second"],
    ...measured.map(({ name, nanoseconds }) => [
      name,
      (nanoseconds / 1_000).toFixed(1),
      Math.round(1e9 / nanoseconds).toLocaleString("en"),
    ]),
  ];
  console.log(`${table(rows)}\n`);
}
