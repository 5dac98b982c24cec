/**
 * A world in memory, run by the pure steps alone: a tenant with guests, an OU with accounts, connector spaces and a
 * metaverse. What the run steps do over tables is done here over maps, in the same order.
 */
import { globSync, readFileSync } from "node:fs";
import { loadConfiguration } from "../../../src/engine/configuration/loadConfiguration.ts";
import type { Configuration, SettingsSchema } from "../../../src/engine/core/configuration.ts";
import { own } from "../../../src/engine/core/flow.ts";
import {
  asDisconnector,
  decideConnection,
  inboundScope,
  joinKey,
  joinLookups,
} from "../../../src/engine/core/inbound.ts";
import { newMetaverseObject } from "../../../src/engine/core/metaverse.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  importedImage,
  type MetaverseObject,
} from "../../../src/engine/core/model.ts";
import { readConfiguration } from "../../../src/engine/core/readConfiguration.ts";
import { decideStaging } from "../../../src/engine/core/staging.ts";
import { type SyncDecision, synchronize } from "../../../src/engine/core/synchronize.ts";
import {
  type Attributes,
  type AttributeValue,
  attributesEqual,
  dateTimeFromMs,
  dnKey,
  type Value,
} from "../../../src/engine/core/values.ts";
import type { ImportEntry } from "../../../src/engine/ports/connector.ts";

export const guestOu = "OU=Guests,DC=corp,DC=example";
export const recipeSettings = {
  AD_URL: "ldaps://dc1.corp.example",
  AD_BIND_DN: "svc@corp.example",
  AD_BIND_PASSWORD: "not a real one",
  AD_BASE_DN: "DC=corp,DC=example",
  GUEST_OU: guestOu,
};
const anySettings: SettingsSchema = { safeParse: (data) => ({ success: true, data }) };
export const anyKinds = new Map([
  ["graph", anySettings],
  ["ad", anySettings],
  ["rules", anySettings],
]);

/** As it is delivered, with the rules connector. */
export const wholeRecipe: Configuration = loadConfiguration("config", recipeSettings, anyKinds);

/** Without the rules connector, which has tests of its own: its rules are those of the files. */
export function withoutRulesConnector(configuration: Configuration): Configuration {
  return {
    ...configuration,
    connectors: new Map([...configuration.connectors].filter(([name]) => name !== "MIMMA")),
    cycles: new Map(
      [...configuration.cycles].map(([name, cycle]) => [
        name,
        { ...cycle, steps: cycle.steps.filter(({ connector }) => connector !== "MIMMA") },
      ]),
    ),
  };
}

export const recipe: Configuration = withoutRulesConnector(wholeRecipe);

/** What a text of the recipe is with these lines first in its first list of attributes, or of flows. */
export function withLines(path: string, text: string, lines: readonly string[]): string {
  const list = path.startsWith("rules") ? /^flows:$/m : /^ {4}attributes:$/m;
  return text.replace(list, (line) => [line, ...lines].join("\n"));
}

/** The recipe with changed files. @param change of a text, by its path in the folder of the configuration */
export function changedRecipe(change: (path: string, text: string) => string): Configuration {
  const files = globSync("config/{connectors,rules,cycles,.}/*.yaml").map((file) => ({
    file,
    text: change(file.slice("config/".length), readFileSync(file, "utf8")),
  }));
  return withoutRulesConnector(readConfiguration(files, recipeSettings, anyKinds));
}

const day = 86_400_000;

export interface Guest {
  readonly id: string;
  readonly [attribute: string]: AttributeValue;
}

/** What Entra ID says of a guest who has accepted. */
export function guestValues(id: string, changed: Attributes = {}): Attributes & { readonly id: string } {
  return {
    id,
    userPrincipalName: `${id}_example.org#EXT#@corp.example`,
    displayName: `Guest ${id}`,
    givenName: "Guest",
    surname: id,
    mail: `${id}@example.org`,
    userType: "Guest",
    accountEnabled: true,
    externalUserState: "Accepted",
    ...changed,
  };
}

/** A guest who has accepted, with defaults. */
export function guest(id: string, changed: Record<string, AttributeValue> = {}): Guest {
  return { ...guestValues(id), ...changed };
}

export interface Account {
  readonly guid: string;
  dn: string;
  attributes: Record<string, AttributeValue>;
}

export class GuestWorld {
  configuration: Configuration;
  nowMs = Date.parse("2026-01-01T00:00:00Z");
  readonly guests = new Map<string, Guest>();
  /** Guests who have gone, and how; an import tells so. */
  readonly gone = new Map<string, "softDeleted" | "deleted" | "outOfScope">();
  readonly accounts = new Map<string, Account>();
  readonly space = new Map<string, ConnectorSpaceObject>();
  readonly metaverse = new Map<string, MetaverseObject>();
  /** Accounts ever created by exports. */
  created = 0;
  /** The next commit of a synchronisation dies after so many writes. */
  crashAfterWrites: number | null = null;
  #guids = 0;

  constructor(configuration: Configuration = recipe) {
    this.configuration = configuration;
  }

  get now(): string {
    return new Date(this.nowMs).toISOString();
  }

  passDays(days: number): void {
    this.nowMs += days * day;
  }

  account(guestId: string): Account | undefined {
    return [...this.accounts.values()].find(
      (account) => account.attributes.adminDescription === `User_${guestId}`,
    );
  }

  addAccount(dn: string, attributes: Record<string, AttributeValue>): Account {
    const guid = `guid-${++this.#guids}`;
    const account = {
      guid,
      dn,
      attributes: { objectGUID: new Uint8Array([this.#guids]), userAccountControl: 512n, ...attributes },
    };
    this.accounts.set(guid, account);
    return account;
  }

  pendingExports(): ConnectorSpaceObject[] {
    return [...this.space.values()].filter((object) => object.pendingExport !== null);
  }

  pendingImports(): ConnectorSpaceObject[] {
    return [...this.space.values()].filter((object) => object.pendingImport !== null);
  }

  // ---- the five run profiles ---------------------------------------------------------------------------------

  import(connector: string): Record<string, number> {
    const counters: Record<string, number> = {};
    const seen = new Set<string>();
    const entries = connector === "AADMA" ? this.#guestEntries() : this.#accountEntries();
    const known = () => [...this.space.values()].filter((object) => object.connector === connector);
    for (const entry of entries) {
      seen.add(entry.anchor);
      this.#stage(
        known().find((object) => object.anchor === entry.anchor) ?? null,
        entry,
        connector,
        counters,
      );
    }
    for (const object of known()) {
      if (object.anchor === null || seen.has(object.anchor)) continue;
      const entry = { kind: "absent", anchor: object.anchor, absence: "deleted" } as const;
      this.#stage(object, entry, connector, counters);
    }
    return counters;
  }

  #stage(
    object: ConnectorSpaceObject | null,
    entry: Extract<ImportEntry, { kind: "object" | "absent" }>,
    connector: string,
    counters: Record<string, number>,
  ): void {
    const decision = decideStaging(object, entry, {
      connector,
      now: this.now,
      retainMs: this.configuration.connectors.get(connector)!.retainMs,
      schemas: this.configuration.schemas.get(connector) ?? [],
      inScope: inboundScope(connector, this.configuration),
    });
    if (decision.kind === "ignored") return;
    counters[decision.counter] = (counters[decision.counter] ?? 0) + 1;
    if (decision.kind === "write") this.space.set(decision.object.id, decision.object);
    if (decision.kind === "remove") this.space.delete(decision.object.id);
  }

  #guestEntries(): Extract<ImportEntry, { kind: "object" | "absent" }>[] {
    return [
      ...[...this.guests.values()].map((attributes) => ({
        kind: "object" as const,
        anchor: attributes.id,
        image: { objectType: "user", dn: attributes.id, attributes },
      })),
      ...[...this.gone].map(([anchor, absence]) => ({ kind: "absent" as const, anchor, absence })),
    ];
  }

  #accountEntries(): Extract<ImportEntry, { kind: "object" | "absent" }>[] {
    return [...this.accounts.values()].map(({ guid, dn, attributes }) => ({
      kind: "object" as const,
      anchor: guid,
      image: { objectType: "user", dn, attributes: { ...attributes } },
    }));
  }

  synchronize(connector: string, kind: "full" | "delta"): SyncDecision[] {
    const decisions: SyncDecision[] = [];
    const mine = () =>
      [...this.space.values()].filter(
        (object) => object.connector === connector && (kind === "full" || object.pendingImport !== null),
      );
    for (const object of mine()) if (object.metaverseId === null) this.#place(object, decisions);
    const ids = new Set(mine().flatMap((object) => object.metaverseId ?? []));
    for (const { id, connectors } of this.metaverse.values()) {
      const isDue = connectors.some((link) => {
        const absence = this.space.get(link.id)?.absence;
        return absence && Date.parse(absence.since) + 30 * day <= this.nowMs;
      });
      if (isDue) ids.add(id);
    }
    // After a crash the metaverse object may be gone while an object still points at it.
    for (const id of ids)
      decisions.push(this.flow(this.metaverse.get(id) ?? newMetaverseObject(id, "person"), connector));
    return decisions;
  }

  #place(object: ConnectorSpaceObject, decisions: SyncDecision[]): void {
    const candidates = new Map(
      joinLookups(object, this.configuration).map((lookup) => [
        joinKey(lookup),
        [...this.metaverse.values()]
          .filter(
            (candidate) =>
              !candidate.deleted &&
              candidate.objectType === lookup.metaverseObjectType &&
              lookup.conditions.every(({ metaverseAttribute, value }) =>
                attributesEqual(own(candidate.attributes, metaverseAttribute)?.value, value),
              ),
          )
          .map((candidate) => candidate.id),
      ]),
    );
    const decision = decideConnection(object, this.configuration, candidates);
    if (decision.kind === "disconnector") {
      const after = asDisconnector(object, decision.reason);
      if (after === null) this.space.delete(object.id);
      else this.space.set(object.id, after);
      return;
    }
    if (decision.kind === "stay") return;
    this.space.set(object.id, { ...object, linking: decision.metaverseId });
    const metaverse =
      this.metaverse.get(decision.metaverseId) ??
      newMetaverseObject(decision.metaverseId, decision.metaverseObjectType);
    decisions.push(this.flow(metaverse, object.connector));
  }

  decide(metaverse: MetaverseObject, syncing: string): SyncDecision {
    return synchronize({
      metaverse,
      objects: [...this.space.values()].filter(
        (object) => object.metaverseId === metaverse.id || object.linking === metaverse.id,
      ),
      syncing,
      configuration: this.configuration,
      now: dateTimeFromMs(this.nowMs),
      random: () => 0.5,
    });
  }

  flow(metaverse: MetaverseObject, syncing: string): SyncDecision {
    let decision = this.decide(metaverse, syncing);
    for (const { lookups, connector, id } of decision.provisioned) {
      const unlinked = [...this.space.values()].filter(
        (object) =>
          object.connector === connector &&
          object.metaverseId === null &&
          object.linking === null &&
          object.disconnector !== "explicit",
      );
      const matches = [
        unlinked.filter((object) => object.id === id),
        ...lookups.map(({ conditions }) =>
          unlinked.filter((object) =>
            conditions.every(({ connectorAttribute, value }) =>
              attributesEqual(read(importedImage(object), connectorAttribute), value),
            ),
          ),
        ),
      ];
      const match = matches.find((found) => found.length === 1)?.[0];
      if (match === undefined) continue;
      this.space.set(match.id, { ...match, linking: metaverse.id });
      decision = this.decide(metaverse, syncing);
    }
    this.commit(metaverse.id, decision, syncing);
    return decision;
  }

  /** The metaverse object first, its targets, the object being synchronised last; a crash leaves out the rest. */
  commit(metaverseId: string, decision: SyncDecision, syncing: string): void {
    const isSource = (connector: string) => Number(connector === syncing);
    const writes = [
      () => {
        if (decision.metaverse === null) this.metaverse.delete(metaverseId);
        else this.metaverse.set(metaverseId, decision.metaverse);
      },
      ...decision.objects
        .toSorted((a, b) => isSource(a.connector) - isSource(b.connector))
        .map(({ id, after }) => () => {
          if (after === null) this.space.delete(id);
          else this.space.set(id, after);
        }),
    ];
    for (const write of writes.slice(0, this.crashAfterWrites ?? writes.length)) write();
    this.crashAfterWrites = null;
  }

  export(): Record<string, number> {
    const counters: Record<string, number> = {};
    for (const object of this.pendingExports()) {
      const change = object.pendingExport!;
      counters[change.change] = (counters[change.change] ?? 0) + 1;
      const values = Object.fromEntries(change.attributes.map(({ name, after }) => [name, after ?? null]));
      const { anchor, dn } = this.#send(object, values);
      this.space.set(object.id, {
        ...object,
        anchor,
        dn,
        pendingExport: null,
        unconfirmed: { change: change.change, expected: values },
      });
    }
    return counters;
  }

  /** As the directory does it; an add that meets an account with our stamp takes it over. */
  #send(
    object: ConnectorSpaceObject,
    values: Record<string, AttributeValue | null>,
  ): { anchor: string; dn: string } {
    const change = object.pendingExport!.change;
    if (change === "delete") {
      this.accounts.delete(object.anchor!);
      return { anchor: object.anchor!, dn: object.dn };
    }
    const stamp = values.adminDescription;
    let account =
      change === "add"
        ? [...this.accounts.values()].find(
            (one) => dnKey(one.dn) === dnKey(object.dn) || one.attributes.adminDescription === stamp,
          )
        : this.accounts.get(object.anchor!);
    if (account === undefined) {
      account = this.addAccount(object.dn, { cn: object.dn.slice(3).split(",")[0]! });
      this.created++;
    }
    for (const [name, value] of Object.entries(values)) {
      if (value === null) delete account.attributes[name];
      else account.attributes[name] = value;
    }
    return { anchor: account.guid, dn: account.dn };
  }

  cycle(kind: "initial" | "delta"): SyncDecision[] {
    const sync = kind === "initial" ? "full" : "delta";
    this.import("AADMA");
    const decisions = this.synchronize("AADMA", sync);
    this.import("ADMA");
    decisions.push(...this.synchronize("ADMA", sync));
    this.export();
    this.import("ADMA");
    decisions.push(...this.synchronize("ADMA", "delta"));
    return decisions;
  }
}

function read(image: Image | null, name: string): AttributeValue | undefined {
  if (image === null) return undefined;
  return name === "dn" ? image.dn : own(image.attributes as Attributes as Record<string, Value>, name);
}
