/** The tenant's groups and who belongs to them, straight or through groups within groups. */

import { createHash } from "node:crypto";

export type GroupEvent = { readonly at: number } & (
  | { readonly type: "addGroup"; readonly id: string; readonly displayName: string }
  | { readonly type: "addMember" | "removeMember"; readonly group: string; readonly member: string }
);

export function isGroupEvent(event: { readonly type: string }): event is GroupEvent {
  return event.type === "addGroup" || event.type === "addMember" || event.type === "removeMember";
}

export interface Group {
  readonly id: string;
  readonly displayName: string;
}

/** What a group holds: an id of a user or of another group. */
export interface Member {
  readonly id: string;
  readonly kind: "user" | "group";
}

export class Groups {
  readonly #groups = new Map<string, Group>();
  /** Ids of users and groups, in the order in which they were added. */
  readonly #members = new Map<string, Set<string>>();

  apply(event: GroupEvent): void {
    switch (event.type) {
      case "addGroup":
        this.#groups.set(event.id, { id: event.id, displayName: event.displayName });
        this.#members.set(event.id, new Set());
        return;
      case "addMember":
        this.#members.get(event.group)!.add(event.member);
        return;
      case "removeMember":
        this.#members.get(event.group)!.delete(event.member);
    }
  }

  all(): Group[] {
    return [...this.#groups.values()];
  }

  find(id: string): Group | undefined {
    return this.#groups.get(id.toLowerCase());
  }

  /** The id that the next group gets: the same in every tenant with the same history. */
  nextId(): string {
    const hex = createHash("sha256").update(`group ${this.#groups.size}`).digest("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }

  hasMember(group: string, member: string): boolean {
    return this.#members.get(group)?.has(member) ?? false;
  }

  members(group: string, transitive: boolean): Member[] {
    const found = new Set<string>();
    const open = [group];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const id of this.#members.get(next) ?? []) {
        // Groups may hold each other.
        if (found.has(id) || id === group) continue;
        found.add(id);
        if (transitive && this.#groups.has(id)) open.push(id);
      }
    }
    return [...found].map((id) => ({ id, kind: this.#groups.has(id) ? "group" : "user" }));
  }

  /** The groups that hold the user. */
  groupsOf(user: string, transitive: boolean): Group[] {
    return this.all().filter(({ id }) => this.members(id, transitive).some((member) => member.id === user));
  }
}
