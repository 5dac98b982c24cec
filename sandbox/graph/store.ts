/**
 * The tenant while it lives: the seeded users, what was changed since, and the log of changes that delta rounds
 * read.
 *
 * Every change is an event; applying the same events to the same seeded tenant gives the same store, so a journal
 * of events is all that must be kept. Users nobody touched are derived again each time they are asked for.
 */

import type { Group, GroupEvent } from "./groups.ts";
import { Groups, isGroupEvent } from "./groups.ts";
import type { Json, UserProperties } from "./properties.ts";
import { fitsType, propertyTypes } from "./properties.ts";
import type { SeededTenant } from "./tenant.ts";
import { guestUser, isoSeconds, tenantDomain } from "./tenant.ts";

/** What happened, with the instant in milliseconds since 1970. */
export type TenantEvent = UserEvent | GroupEvent;

type UserEvent = { readonly at: number } & (
  | { readonly type: "add"; readonly properties: UserProperties }
  | { readonly type: "change"; readonly id: string; readonly properties: UserProperties }
  | { readonly type: "delete" | "restore" | "purge"; readonly id: string }
  | { readonly type: "expireTokens"; readonly answer: ExpiredTokenAnswer }
);

/**
 * How tokens handed out before are answered from now on: `reset` is 410 with a Location to start over, `expired` is
 * 400 syncStateNotFound.
 */
export type ExpiredTokenAnswer = "reset" | "expired";

export type UserState = "active" | "deleted" | "purged";

export interface TenantUser {
  /** Position in listings: never changes, never used again. */
  readonly ordinal: number;
  readonly id: string;
  readonly state: UserState;
  readonly properties: UserProperties;
}

/** All that happened to one user between two versions. */
export interface UserChange {
  readonly ordinal: number;
  /** Names of changed properties; "all" when the user was added or restored. */
  readonly names: ReadonlySet<string> | "all";
  readonly removed: boolean;
  /** Ids of those who were the manager meanwhile. */
  readonly formerManagers: readonly string[];
}

export class TenantError extends Error {
  readonly kind: "not-found" | "conflict" | "invalid";

  constructor(kind: TenantError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

interface ChangedUser {
  readonly state: UserState;
  readonly properties: UserProperties;
}

interface LogEntry {
  readonly ordinal: number;
  readonly kind: "add" | "change" | "delete" | "restore" | "purge";
  readonly names: readonly string[];
  readonly at: number;
  /** Who was the manager until then. */
  readonly formerManager?: string;
}

export class TenantStore {
  readonly seeded: SeededTenant;
  /** Change them through the store alone, so that the change is recorded. */
  readonly groups = new Groups();
  private readonly record: (events: readonly TenantEvent[]) => void;
  private readonly ids: string[] = [];
  private readonly ordinals = new Map<string, number>();
  private readonly changed = new Map<number, ChangedUser>();
  private readonly log: LogEntry[] = [];
  /** Ordinals of changed active users by user principal name in lower case; the seed knows the others. */
  private readonly principalNames = new Map<string, number>();
  private lastRound: { from: number; to: number; changes: readonly UserChange[] } | undefined;
  private added = 0;
  private answers: ExpiredTokenAnswer[] = [];

  /**
   * @param past events to apply first, as an earlier store recorded them
   * @param record called with new events before their effect can be seen; what it throws refuses the change
   */
  constructor(
    seeded: SeededTenant,
    past: Iterable<TenantEvent> = [],
    record: (events: readonly TenantEvent[]) => void = () => {},
  ) {
    this.seeded = seeded;
    this.record = record;
    for (let position = 0; position < seeded.size; position += 1) this.enter(seeded.idAt(position));
    for (const event of past) this.apply(event);
  }

  /** Number of changes so far: what a delta token points at. */
  get version(): number {
    return this.log.length;
  }

  /** Counts the expirations of delta tokens. */
  get tokenEpoch(): number {
    return this.answers.length;
  }

  /** How a token of an earlier epoch is answered. */
  answerForEpoch(epoch: number): ExpiredTokenAnswer | undefined {
    return epoch < this.answers.length ? this.answers.at(-1) : undefined;
  }

  /** One past the highest ordinal. */
  get end(): number {
    return this.ids.length;
  }

  at(ordinal: number): TenantUser {
    const id = this.ids[ordinal];
    if (id === undefined) throw new TenantError("not-found", `No user has the ordinal ${ordinal}.`);
    const changed = this.changed.get(ordinal);
    if (changed !== undefined) return { ordinal, id, ...changed };
    return { ordinal, id, state: "active", properties: this.seeded.userAt(ordinal) };
  }

  stateAt(ordinal: number): UserState {
    return this.changed.get(ordinal)?.state ?? "active";
  }

  /** As `at(ordinal).properties.userType === "Guest"`, without deriving the user. */
  isGuestAt(ordinal: number): boolean {
    const changed = this.changed.get(ordinal);
    return changed === undefined ? this.seeded.isGuestAt(ordinal) : changed.properties.userType === "Guest";
  }

  /** The user with this id in whatever state, or the active user with this user principal name. */
  find(idOrPrincipalName: string): TenantUser | undefined {
    const key = idOrPrincipalName.toLowerCase();
    const ordinal = this.ordinals.get(key) ?? this.ordinalOfPrincipalName(key);
    return ordinal === undefined ? undefined : this.at(ordinal);
  }

  /** Ordinals of soft-deleted users, in order. */
  deletedOrdinals(): number[] {
    return [...this.changed]
      .filter(([, user]) => user.state === "deleted")
      .map(([ordinal]) => ordinal)
      .sort((a, b) => a - b);
  }

  /** The last version that is at least `lagMs` old: what a replica that lags behind has seen. */
  versionAsOf(nowMs: number, lagMs: number): number {
    let version = this.log.length;
    while (version > 0 && this.log[version - 1]!.at > nowMs - lagMs) version -= 1;
    return version;
  }

  /** Changes after version `from` up to `to`, one entry per user, in the order of the user's last change. */
  changesBetween(from: number, to: number): readonly UserChange[] {
    // The pages of one round ask for the same stretch of the log, which never changes.
    if (this.lastRound?.from !== from || this.lastRound.to !== to) {
      this.lastRound = { from, to, changes: this.mergeLog(from, to) };
    }
    return this.lastRound.changes;
  }

  private mergeLog(from: number, to: number): UserChange[] {
    const changes = new Map<number, UserChange>();
    for (const entry of this.log.slice(from, to)) {
      const before = changes.get(entry.ordinal);
      const names =
        entry.kind !== "change" || before?.names === "all"
          ? "all"
          : new Set([...(before?.names ?? []), ...entry.names]);
      changes.delete(entry.ordinal);
      changes.set(entry.ordinal, {
        ordinal: entry.ordinal,
        names,
        removed: (before?.removed ?? false) || entry.kind === "delete" || entry.kind === "purge",
        formerManagers: [
          ...(before?.formerManagers ?? []),
          ...(entry.formerManager === undefined ? [] : [entry.formerManager]),
        ],
      });
    }
    return [...changes.values()];
  }

  /**
   * Invites the next guests of the seed's sequence.
   * @param overrides properties that differ from the derived ones; null leaves the property unset. A mail address
   * without a user principal name gives the name that an invitation to it would.
   * @throws TenantError "conflict" for a user principal name in use, "invalid" for an unknown property or type
   */
  addGuests(count: number, overrides: UserProperties, at: number): TenantUser[] {
    if (!Number.isInteger(count) || count < 1 || count > 100_000) {
      throw new TenantError("invalid", "count must be a whole number from 1 to 100000.");
    }
    checkProperties(overrides);
    if (overrides.id !== undefined) throw new TenantError("invalid", "The tenant gives the id.");
    const events: TenantEvent[] = [];
    const namesInUse = new Set<string>();
    for (let number = 0; number < count; number += 1) {
      const derived = guestUser(this.seeded.seed, this.seeded.guests + this.added + number);
      const properties = invited(derived, overrides, at);
      this.checkPrincipalName(String(properties.userPrincipalName), undefined, namesInUse);
      events.push({ type: "add", at, properties });
    }
    this.commit(events);
    return events.map((_, number) => this.at(this.end - count + number));
  }

  /** A user that a client made: nothing of it is derived. @throws TenantError */
  addUser(properties: UserProperties, at: number): TenantUser {
    checkProperties(properties);
    this.checkPrincipalName(String(properties.userPrincipalName), undefined);
    this.commit([{ type: "add", at, properties }]);
    return this.at(this.end - 1);
  }

  /** The active user with this mail address, in any case. */
  findByMail(mail: string): TenantUser | undefined {
    const key = mail.toLowerCase();
    for (let ordinal = 0; ordinal < this.end; ordinal += 1) {
      if (this.stateAt(ordinal) !== "active") continue;
      const user = this.at(ordinal);
      const { mail: own, otherMails } = user.properties;
      const mails = [own, ...(Array.isArray(otherMails) ? otherMails : [])];
      if (mails.some((one) => typeof one === "string" && one.toLowerCase() === key)) return user;
    }
    return undefined;
  }

  /**
   * Sets properties of an active user; null clears one. Values that are equal already are no change.
   * @throws TenantError
   */
  change(idOrPrincipalName: string, properties: UserProperties, at: number): TenantUser {
    const user = this.require(idOrPrincipalName, "active");
    checkProperties(properties);
    if ("id" in properties) throw new TenantError("invalid", "The id of a user never changes.");
    const different = Object.entries(properties).filter(
      ([name, value]) => JSON.stringify(user.properties[name] ?? null) !== JSON.stringify(value),
    );
    if (different.length === 0) return user;
    if (different.some(([name]) => name === "userPrincipalName")) {
      if (typeof properties.userPrincipalName !== "string") {
        throw new TenantError("invalid", "A user has a userPrincipalName.");
      }
      this.checkPrincipalName(properties.userPrincipalName, user.ordinal);
    }
    this.commit([{ type: "change", at, id: user.id, properties: Object.fromEntries(different) }]);
    return this.at(user.ordinal);
  }

  /** Soft-deletes: the user moves to the deleted items and its user principal name is free. */
  delete(idOrPrincipalName: string, at: number): TenantUser {
    const user = this.require(idOrPrincipalName, "active");
    this.commit([{ type: "delete", at, id: user.id }]);
    return this.at(user.ordinal);
  }

  /** @throws TenantError "conflict" when somebody else has the user principal name by now */
  restore(id: string, at: number): TenantUser {
    const user = this.require(id, "deleted");
    this.checkPrincipalName(originalPrincipalName(user), user.ordinal);
    this.commit([{ type: "restore", at, id: user.id }]);
    return this.at(user.ordinal);
  }

  /** Deletes for good, from the deleted items or at once. */
  purge(idOrPrincipalName: string, at: number): void {
    const user = this.find(idOrPrincipalName);
    if (user === undefined || user.state === "purged") throw notFound(idOrPrincipalName);
    this.commit([{ type: "purge", at, id: user.id }]);
  }

  addGroup(wanted: UserProperties, members: readonly string[], at: number): string {
    const id = this.groups.nextId();
    for (const member of members) this.requireMember(member);
    const properties = { ...wanted, id, createdDateTime: isoSeconds(at) };
    this.commit([
      { type: "addGroup", at, id, properties },
      ...members.map((member) => ({ type: "addMember", at, group: id, member }) as const),
    ]);
    return id;
  }

  /** Values that are equal already are no change. @throws TenantError */
  changeGroup(id: string, properties: UserProperties, at: number): void {
    const group = this.requireGroup(id, "active");
    const different = Object.entries(properties).filter(
      ([name, value]) => JSON.stringify(group.properties[name] ?? null) !== JSON.stringify(value),
    );
    if (different.length === 0) return;
    this.commit([{ type: "changeGroup", at, id: group.id, properties: Object.fromEntries(different) }]);
  }

  /** A Microsoft 365 group moves to the deleted items, any other is gone for good. */
  deleteGroup(id: string, at: number): void {
    const group = this.requireGroup(id, "active");
    const soft = (group.properties.groupTypes as readonly string[] | undefined)?.includes("Unified") === true;
    this.commit([{ type: soft ? "deleteGroup" : "purgeGroup", at, id: group.id }]);
  }

  restoreGroup(id: string, at: number): void {
    this.commit([{ type: "restoreGroup", at, id: this.requireGroup(id, "deleted").id }]);
  }

  private requireGroup(id: string, state: "active" | "deleted"): Group {
    const group = this.groups.get(id);
    if (group?.state !== state) throw notFound(id);
    return group;
  }

  /** @throws TenantError "not-found" for a group or a member that is not there */
  changeMember(type: "addMember" | "removeMember", group: string, member: string, at: number): void {
    const found = this.groups.find(group);
    if (found === undefined) throw notFound(group);
    const id = this.requireMember(member);
    if (this.groups.hasMember(found.id, id) === (type === "addMember")) return;
    this.commit([{ type, at, group: found.id, member: id }]);
  }

  private requireMember(member: string): string {
    const id = this.groups.find(member)?.id ?? this.find(member)?.id;
    if (id === undefined) throw notFound(member);
    return id;
  }

  expireTokens(answer: ExpiredTokenAnswer, at: number): void {
    this.commit([{ type: "expireTokens", at, answer }]);
  }

  private require(idOrPrincipalName: string, state: UserState): TenantUser {
    const user = this.find(idOrPrincipalName);
    if (user?.state !== state) throw notFound(idOrPrincipalName);
    return user;
  }

  private commit(events: readonly TenantEvent[]): void {
    this.record(events);
    for (const event of events) this.apply(event);
  }

  private apply(event: TenantEvent): void {
    if (event.type === "expireTokens") {
      this.answers.push(event.answer);
      return;
    }
    if (isGroupEvent(event)) {
      this.groups.apply(event);
      return;
    }
    if (event.type === "add") {
      const ordinal = this.enter(String(event.properties.id));
      this.added += 1;
      this.put(
        ordinal,
        { state: "active", properties: event.properties },
        event,
        Object.keys(event.properties),
      );
      return;
    }
    const ordinal = this.ordinals.get(event.id);
    if (ordinal === undefined) throw notFound(event.id);
    const user = this.at(ordinal);
    switch (event.type) {
      case "change": {
        const properties = { ...user.properties, ...event.properties };
        this.put(ordinal, { state: "active", properties }, event, Object.keys(event.properties));
        return;
      }
      case "delete": {
        const properties = {
          ...user.properties,
          userPrincipalName: `${user.id.replaceAll("-", "")}${user.properties.userPrincipalName}`,
          deletedDateTime: isoSeconds(event.at),
        };
        this.put(ordinal, { state: "deleted", properties }, event, []);
        return;
      }
      case "restore": {
        const { deletedDateTime: _, ...properties } = user.properties;
        const restored = { ...properties, userPrincipalName: originalPrincipalName(user) };
        this.put(ordinal, { state: "active", properties: restored }, event, []);
        return;
      }
      case "purge":
        this.put(ordinal, { state: "purged", properties: { id: user.id } }, event, []);
        return;
    }
  }

  private enter(id: string): number {
    const ordinal = this.ids.push(id) - 1;
    this.ordinals.set(id, ordinal);
    return ordinal;
  }

  private put(
    ordinal: number,
    user: ChangedUser,
    event: Exclude<UserEvent, { type: "expireTokens" }>,
    names: readonly string[],
  ): void {
    const present = this.changed.get(ordinal)?.properties ?? {};
    const before = present.userPrincipalName;
    if (before !== undefined) this.principalNames.delete(String(before).toLowerCase());
    if (user.state === "active") {
      this.principalNames.set(String(user.properties.userPrincipalName).toLowerCase(), ordinal);
    }
    this.changed.set(ordinal, user);
    const formerManager =
      names.includes("manager") && typeof present.manager === "string"
        ? { formerManager: present.manager }
        : {};
    this.log.push({ ordinal, kind: event.type, names, at: event.at, ...formerManager });
  }

  private ordinalOfPrincipalName(key: string): number | undefined {
    const changed = this.principalNames.get(key);
    if (changed !== undefined) return changed;
    const seeded = this.seeded.positionOfPrincipalName(key);
    return seeded === undefined || this.changed.has(seeded) ? undefined : seeded;
  }

  private checkPrincipalName(name: string, own: number | undefined, alsoInUse?: Set<string>): void {
    const key = name.toLowerCase();
    const holder = this.ordinalOfPrincipalName(key);
    if ((holder !== undefined && holder !== own) || alsoInUse?.has(key) === true) {
      throw new TenantError(
        "conflict",
        "Another object with the same value for property userPrincipalName already exists.",
      );
    }
    alsoInUse?.add(key);
  }
}

function originalPrincipalName(user: TenantUser): string {
  return String(user.properties.userPrincipalName).slice(user.id.replaceAll("-", "").length);
}

function invited(derived: UserProperties, overrides: UserProperties, at: number): UserProperties {
  const invitedAt = isoSeconds(at);
  const fromMail: Record<string, Json> = {};
  if (typeof overrides.mail === "string") {
    const nickname = `${overrides.mail.replace(/@/, "_").replace(/[^A-Za-z0-9'._-]/g, "")}#EXT#`;
    fromMail.mailNickname = nickname;
    fromMail.userPrincipalName = `${nickname}@${tenantDomain}`;
    fromMail.otherMails = [overrides.mail];
    fromMail.proxyAddresses = [`SMTP:${overrides.mail}`];
  }
  const properties = {
    ...derived,
    createdDateTime: invitedAt,
    ...(derived.externalUserState === undefined ? {} : { externalUserStateChangeDateTime: invitedAt }),
    ...fromMail,
    ...overrides,
  };
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== null));
}

function checkProperties(properties: UserProperties): void {
  for (const [name, value] of Object.entries(properties)) {
    if (!propertyTypes.has(name)) throw new TenantError("invalid", `A user has no property '${name}'.`);
    if (!fitsType(name, value)) {
      throw new TenantError("invalid", `The value of '${name}' must be ${propertyTypes.get(name)} or null.`);
    }
  }
}

function notFound(idOrPrincipalName: string): TenantError {
  return new TenantError(
    "not-found",
    `Resource '${idOrPrincipalName}' does not exist or one of its queried reference-property objects are not present.`,
  );
}
