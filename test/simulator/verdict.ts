/** What must hold once everything has come to rest, and what must hold at any time. */
import type { Run } from "../../src/engine/stores/runs.ts";
import { type EngineWorld, guestOu } from "../support/engineWorld.ts";
import type { MemoryObject } from "../support/memoryConnector.ts";
import { isLeaver, type Variation, wantedOf } from "./ruleSets.ts";

/** Guests with more than one account: by stamp, by the name that the rules give, or by their UPN. */
export function twice(world: EngineWorld): string[] {
  const accounts = world.accounts.listed();
  return [...world.guests.objects.values()].flatMap(({ anchor, attributes, gone }) => {
    const upn = gone === null ? attributes.userPrincipalName : undefined;
    const found = accounts.filter(
      (account) =>
        account.attributes.adminDescription === `User_${anchor}` ||
        account.dn.startsWith(`CN=${anchor},`) ||
        (upn !== undefined && account.attributes.userPrincipalName === upn),
    );
    return found.length > 1
      ? [`${anchor} has ${found.length} accounts: ${found.map(({ dn }) => dn).join("; ")}`]
      : [];
  });
}

/**
 * What is not as the rules say, or not accounted for; empty when all is right.
 * @param leftBehind anchors of the accounts that nobody provisioned: out of a rule's scope they are let go, not deleted
 */
export async function wrongAtRest(
  world: EngineWorld,
  rules: readonly Variation[],
  leftBehind: ReadonlySet<string>,
): Promise<string[]> {
  const guests = [...world.guests.objects.values()];
  const wrong = guests.flatMap((guest) => wrongAccount(world, rules, leftBehind, guest));
  for (const { attributes, dn } of world.accounts.listed()) {
    if (dn.startsWith("CN=By hand") && attributes.displayName !== "Made by hand")
      wrong.push(`${dn} is not ours and was changed`);
  }
  for (const [guest, ids] of await world.persons())
    if (guest !== "nobody" && ids.length > 1) wrong.push(`${guest} is ${ids.length} persons`);
  for (const connector of ["AADMA", "ADMA"]) {
    const [counted, held] = await world.countedAndHeld(connector);
    if (JSON.stringify(counted) !== JSON.stringify(held))
      wrong.push(`${connector} counts ${JSON.stringify(counted)} and holds ${JSON.stringify(held)}`);
  }
  return [...wrong, ...(await world.outstanding()), ...(await wrongRuns(world))];
}

function wrongAccount(
  world: EngineWorld,
  rules: readonly Variation[],
  leftBehind: ReadonlySet<string>,
  guest: MemoryObject,
): string[] {
  const accounts = world.accountsOf(guest.anchor);
  const wanted = wantedOf(rules, world, guest);
  switch (wanted.kind) {
    case "none":
      return accounts
        .filter(({ anchor }) => !leftBehind.has(anchor))
        .map(({ dn }) => `${dn} should not be there`);
    case "disabledOrNone":
      return (
        accounts
          .filter(({ attributes }) => attributes.userAccountControl !== 262658n)
          // Of a guest who went before any import: nobody has ever given it a value, and it is listed as an orphan.
          .filter(
            ({ anchor, attributes }) => !leftBehind.has(anchor) || attributes.employeeType !== undefined,
          )
          // One that was joined is let go as it is when its person leaves the outbound rule's scope, before or after.
          .filter(
            ({ anchor }) =>
              !leftBehind.has(anchor) || !rules.includes("leavers") || !isLeaver(guest.attributes),
          )
          .map(({ dn }) => `${dn} of a guest who is gone is enabled`)
      );
    case "account": {
      const [account] = accounts;
      if (account === undefined) return [`${guest.anchor} has no account`];
      return Object.entries(wanted.attributes)
        .filter(
          ([name, value]) => JSON.stringify(plain(account.attributes[name])) !== JSON.stringify(plain(value)),
        )
        .map(
          ([name, value]) => `${guest.anchor} ${name}: ${text(account.attributes[name])}, not ${text(value)}`,
        );
    }
  }
}

const plain = (value: unknown) => (typeof value === "bigint" ? String(value) : (value ?? null));
const text = (value: unknown) => String(JSON.stringify(plain(value))).slice(0, 200);

/** Every run has ended, and so has every step of it that began; the others say that they were not run. */
async function wrongRuns(world: EngineWorld): Promise<string[]> {
  const wrong = (await world.engine.runs.openIds()).map((id) => `run ${id} is open`);
  for (let continuation: string | undefined; ; ) {
    const page = await world.engine.runs.page(100, continuation);
    for (const run of page.runs) if (!isAccountedFor(run)) wrong.push(`run ${run.id}: ${stepsOf(run)}`);
    continuation = page.continuation;
    if (continuation === undefined) return wrong;
  }
}

function isAccountedFor({ endedAt, status, steps }: Run): boolean {
  const isOver = endedAt !== null && status !== "in-progress";
  return (
    isOver &&
    steps.every((step) =>
      step.status === "not-run"
        ? step.endedAt === null
        : step.endedAt !== null && !["in-progress", "waiting"].includes(step.status),
    )
  );
}

const stepsOf = ({ status, steps }: Run) =>
  `${status}: ${steps.map((step) => `${step.connector} ${step.status} ${step.endedAt}`).join(", ")}`;

const listedCounters = ["stageNoChange", "stageAdd", "stageUpdate", "stageRename", "stageDeleteAdd"];

/** Of objects that stay; the others are gone, or no longer linked. */
export const countersOfThoseThatStay = [
  "disconnectorFiltered",
  "disconnectorRemains",
  "disconnectorProjectedFlow",
  "disconnectorJoinedFlow",
  "disconnectorJoinedNoFlow",
  "connectorFlow",
  "connectorNoFlow",
];

/** Whether a run from which nothing has changed counted each object that is there once, and no other. */
export async function wronglyCounted(world: EngineWorld, run: Run): Promise<string[]> {
  const listed = new Map([
    ["AADMA", world.guests.listed().length],
    ["ADMA", world.accounts.listed().length],
  ]);
  const held = new Map<string, number>();
  for (const connector of listed.keys())
    held.set(connector, (await world.countedAndHeld(connector))[1].objects!);
  return run.steps.flatMap(({ connector, type, statistics }) => {
    if (type === "fullSync" && held.has(connector)) {
      const counted = countersOfThoseThatStay.reduce((sum, counter) => sum + (statistics[counter] ?? 0), 0);
      return counted === held.get(connector)
        ? []
        : [`${connector} has ${held.get(connector)} objects, synchronised: ${JSON.stringify(statistics)}`];
    }
    if (type !== "fullImport" || !listed.has(connector)) return [];
    const counted = listedCounters.reduce((sum, counter) => sum + (statistics[counter] ?? 0), 0);
    return counted === listed.get(connector)
      ? []
      : [
          `${connector}: ${listed.get(connector)} objects are there, counted were ${JSON.stringify(statistics)}`,
        ];
  });
}

/** The directory in the end, as a part of the trace. */
export function ending(world: EngineWorld): string[] {
  return world.accounts
    .listed()
    .map(({ dn, attributes }) => `${dn} ${String(attributes.userAccountControl)} ${attributes.displayName}`)
    .sort();
}

/** Puts what a script or MIM has left behind into the directory. @returns its anchor */
export function leaveBehind(
  world: EngineWorld,
  guest: MemoryObject,
  kind: "stamped" | "byName" | "byUpn",
): string {
  const { anchor, attributes } = guest;
  const found = {
    stamped: { dn: `CN=Stamped ${anchor}`, attributes: { adminDescription: `User_${anchor}` } },
    byName: { dn: `CN=${anchor}`, attributes: {} },
    byUpn: { dn: `CN=Named ${anchor}`, attributes: { userPrincipalName: attributes.userPrincipalName! } },
  }[kind];
  const common = { displayName: "Left behind", userAccountControl: 262656n };
  return world.accounts.add(`${found.dn},${guestOu}`, { ...common, ...found.attributes }).anchor;
}
