/** The tenant's groups, who belongs to them (straight or through groups within groups), and the log of their changes. */

import { createHash } from "node:crypto";
import type { Member } from "./answers.ts";
import type { UserProperties } from "./properties.ts";

export type GroupEvent = { readonly at: number } & (
  | { readonly type: "addGroup"; readonly id: string; readonly properties: UserProperties }
  | { readonly type: "changeGroup"; readonly id: string; readonly properties: UserProperties }
  | { readonly type: "deleteGroup" | "restoreGroup" | "purgeGroup"; readonly id: string }
  | { readonly type: "addMember" | "removeMember"; readonly group: string; readonly member: string }
);

const eventTypes: ReadonlySet<string> = new Set<GroupEvent["type"]>([
  "addGroup",
  "changeGroup",
  "deleteGroup",
  "restoreGroup",
  "purgeGroup",
  "addMember",
  "removeMember",
]);

export function isGroupEvent(event: { readonly type: string }): event is GroupEvent {
  return eventTypes.has(event.type);
}

export interface Group {
  readonly id: string;
  readonly state: "active" | "deleted" | "purged";
  readonly properties: UserProperties;
}

/** All that happened to one group between two versions. */
export interface GroupChange {
  readonly id: string;
  /** Names of changed properties; "all" when the group was added or restored. */
  readonly names: ReadonlySet<string> | "all";
  /** Ids that joined (true) or left (false), the last of it. */
  readonly members: ReadonlyMap<string, boolean>;
}

interface LogEntry {
  readonly id: string;
  readonly at: number;
  readonly names: readonly string[] | "all";
  readonly member?: { readonly id: string; readonly joined: boolean };
}

export class Groups {
  readonly #groups = new Map<string, Group>();
  /** Ids of users and groups, in the order in which they were added. */
  readonly #members = new Map<string, Set<string>>();
  readonly #log: LogEntry[] = [];

  apply(event: GroupEvent): void {
    const log = (id: string, names: LogEntry["names"], member?: LogEntry["member"]) =>
      this.#log.push({ id, at: event.at, names, ...(member && { member }) });
    switch (event.type) {
      case "addGroup":
        this.#groups.set(event.id, { id: event.id, state: "active", properties: event.properties });
        this.#members.set(event.id, new Set());
        log(event.id, "all");
        return;
      case "changeGroup": {
        const group = this.#groups.get(event.id)!;
        this.#groups.set(event.id, { ...group, properties: { ...group.properties, ...event.properties } });
        log(event.id, Object.keys(event.properties));
        return;
      }
      case "deleteGroup":
      case "restoreGroup":
      case "purgeGroup": {
        const state = ({ deleteGroup: "deleted", restoreGroup: "active", purgeGroup: "purged" } as const)[
          event.type
        ];
        this.#groups.set(event.id, { ...this.#groups.get(event.id)!, state });
        if (state === "purged") this.#members.get(event.id)!.clear();
        log(event.id, "all");
        return;
      }
      case "addMember":
        this.#members.get(event.group)!.add(event.member);
        log(event.group, [], { id: event.member, joined: true });
        return;
      case "removeMember":
        this.#members.get(event.group)!.delete(event.member);
        log(event.group, [], { id: event.member, joined: false });
    }
  }

  /** The number of changes so far: what a delta token points at. */
  get version(): number {
    return this.#log.length;
  }

  versionAsOf(nowMs: number, lagMs: number): number {
    let version = this.#log.length;
    while (version > 0 && this.#log[version - 1]!.at > nowMs - lagMs) version -= 1;
    return version;
  }

  /** One entry per group, in the order of the group's last change. */
  changesBetween(from: number, to: number): GroupChange[] {
    const changes = new Map<string, { names: Set<string> | "all"; members: Map<string, boolean> }>();
    for (const { id, names, member } of this.#log.slice(from, to)) {
      const change = changes.get(id) ?? { names: new Set<string>(), members: new Map<string, boolean>() };
      if (names === "all") change.names = "all";
      else if (change.names !== "all") for (const name of names) change.names.add(name);
      if (member !== undefined) change.members.set(member.id, member.joined);
      changes.delete(id);
      changes.set(id, change);
    }
    return [...changes].map(([id, change]) => ({ id, ...change }));
  }

  all(state: Group["state"] = "active"): Group[] {
    return [...this.#groups.values()].filter((group) => group.state === state);
  }

  /** In whatever state. */
  get(id: string): Group | undefined {
    return this.#groups.get(id.toLowerCase());
  }

  /** The active one. */
  find(id: string): Group | undefined {
    const group = this.get(id);
    return group?.state === "active" ? group : undefined;
  }

  /** The id that the next group gets: the same in every tenant with the same history. */
  nextId(): string {
    const hex = createHash("sha256").update(`group ${this.#groups.size}`).digest("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }

  hasMember(group: string, member: string): boolean {
    return this.#members.get(group)?.has(member) ?? false;
  }

  /** Deleted groups are left out; of users the tenant knows who is deleted. */
  members(group: string, transitive: boolean): Member[] {
    const found = new Set<string>();
    const open = [group];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const id of this.#members.get(next) ?? []) {
        // Groups may hold each other.
        if (found.has(id) || id === group || this.#isGone(id)) continue;
        found.add(id);
        if (transitive && this.#groups.has(id)) open.push(id);
      }
    }
    return [...found].map((id) => ({ id, kind: this.#groups.has(id) ? "group" : "user" }));
  }

  #isGone(id: string): boolean {
    const group = this.#groups.get(id);
    return group !== undefined && group.state !== "active";
  }

  /** The groups that hold the user. */
  groupsOf(user: string, transitive: boolean): Group[] {
    return this.all().filter(({ id }) => this.members(id, transitive).some((member) => member.id === user));
  }
}
