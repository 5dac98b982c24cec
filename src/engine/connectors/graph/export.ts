/** Users created, invited, changed and deleted through Graph. Every change may be sent twice. */
import { setTimeout as sleep } from "node:timers/promises";
import type { AttributeChange } from "../../core/model.ts";
import { type AttributeValue, attributesEqual } from "../../core/values.ts";
import {
  type ConnectorContext,
  ConnectorError,
  type ExportChange,
  type ExportResult,
} from "../../ports/connector.ts";
import { inParallel } from "../inParallel.ts";
import { newPassword } from "../password.ts";
import type { GraphClient } from "./client.ts";
import { refusal } from "./exportErrors.ts";
import type { GraphAnswer } from "./failures.ts";
import type { GraphUser, UserFilter } from "./filter.ts";
import type { GraphSettings } from "./settings.ts";
import type { SelectedUserAttributes } from "./userSchema.ts";

export interface ExportScope {
  readonly client: GraphClient;
  readonly attributes: SelectedUserAttributes;
  readonly filter: UserFilter;
  /** `$select` of everything that a change is compared with. */
  readonly select: string;
  readonly settings: Pick<GraphSettings, "stampAttribute" | "invitationRedirectUrl" | "invitationMessage">;
  /** How long a change may take to reach the replica that answers a read. */
  readonly replicationMs: number;
  readonly context: ConnectorContext;
}

/** Writes under way at once: Graph allows 3,000 of an application in 150 s, and answers each in about 0.2 s. */
const inFlight = 4;

/** @throws ConnectorError when the service fails; whether the open changes were done is then unknown. */
export function exportUsers(scope: ExportScope, changes: readonly ExportChange[]): Promise<ExportResult[]> {
  return inParallel(inFlight, changes, async (change) => {
    try {
      return await new UserExport(scope, change).run();
    } catch (error) {
      // A value of the wrong type, told without the value.
      if (error instanceof TypeError) {
        return failed("invalid-attribute-value", `${change.dn}: ${error.message}.`);
      }
      throw error;
    }
  });
}

function failed(code: string, message: string): ExportResult {
  return { kind: "failed", code, message };
}

/**
 *   add     who has the stamp, the principal name, the mail?
 *             a foreign user ─────────► cd-existing-object, with its id
 *             ours, out of scope ─────► cd-existing-object: left alone
 *             ours ──► the difference ► exported, resumed
 *             nobody ──► POST /users, or POST /invitations and the rest of the values
 *   update  read; gone or out of scope ─► cd-missing-object; changed by others ─► cd-error; otherwise the difference
 *   delete  read; gone ─► exported; out of scope ─► left alone; otherwise DELETE, which can be undone for 30 days
 */
class UserExport {
  readonly #scope: ExportScope;
  readonly #change: ExportChange;

  constructor(scope: ExportScope, change: ExportChange) {
    this.#scope = scope;
    this.#change = change;
  }

  run(): Promise<ExportResult> {
    const { change, newDn, dn } = this.#change;
    if (newDn !== undefined && newDn !== dn) {
      const message = `${dn}: the name of a user of Entra is its id, which never changes. Let the flow to dn be initial only.`;
      return Promise.resolve(failed("modify-naming-attribute", message));
    }
    switch (change) {
      case "add":
        return this.#add();
      case "update":
        return this.#update();
      case "delete":
        return this.#delete();
    }
  }

  // ---- add -----------------------------------------------------------------------------------------------------

  async #add(): Promise<ExportResult> {
    const met =
      (await this.#meetHolders()) ?? (this.#change.outcomeUnknown ? await this.#meetLater() : undefined);
    if (met !== undefined) return met;
    return this.#wanted("userPrincipalName") === undefined &&
      this.#scope.settings.invitationRedirectUrl !== undefined
      ? this.#invite(this.#scope.settings.invitationRedirectUrl)
      : this.#create();
  }

  async #create(): Promise<ExportResult> {
    const displayName = this.#wanted("displayName");
    const password = newPassword(typeof displayName === "string" ? { displayName } : {});
    const answer = await this.#write("POST", "/users", {
      accountEnabled: true,
      ...this.#body(this.#change.attributes),
      passwordProfile: { password, forceChangePasswordNextSignIn: true },
    });
    if (answer.status === 201) return this.#done(idOf(answer.body));
    const refused = refusal(answer, this.#change.dn);
    // Whoever has the name may have it since a moment ago: an attempt of ours that the first look did not show.
    return refused.code === "cd-existing-object" ? ((await this.#meetLater()) ?? refused) : refused;
  }

  /** https://learn.microsoft.com/graph/api/invitation-post; what an invitation cannot carry is written afterwards. */
  async #invite(inviteRedirectUrl: string): Promise<ExportResult> {
    const { dn, attributes } = this.#change;
    const mail = this.#wanted("mail");
    if (typeof mail !== "string") {
      return failed(
        "invalid-attribute-value",
        `${dn}: neither a userPrincipalName nor a mail address flows to it.`,
      );
    }
    const displayName = this.#wanted("displayName");
    const answer = await this.#write("POST", "/invitations", {
      invitedUserEmailAddress: mail,
      inviteRedirectUrl,
      sendInvitationMessage: this.#scope.settings.invitationMessage,
      ...(typeof displayName === "string" ? { invitedUserDisplayName: displayName } : {}),
    });
    if (answer.status !== 201) return refusal(answer, dn);
    const id = idOf((answer.body as { invitedUser?: unknown } | undefined)?.invitedUser);
    const rest = attributes.filter(({ name, after }) => name !== "mail" && after !== undefined);
    if (rest.length === 0) return this.#done(id);
    for (let attempt = 1; ; attempt++) {
      const patched = await this.#write("PATCH", `/users/${id}`, this.#body(rest));
      if (patched.status < 300) return this.#done(id);
      // The replica that was asked may not know the guest yet.
      if (patched.status !== 404 || attempt === 3) return refusal(patched, dn);
      await this.#wait();
    }
  }

  async #meetLater(): Promise<ExportResult | undefined> {
    await this.#wait();
    return this.#meetHolders();
  }

  /** Undefined when nobody has what this user wants. */
  async #meetHolders(): Promise<ExportResult | undefined> {
    const { dn, attributes } = this.#change;
    const { filter } = this.#scope;
    const holders = await this.#holders();
    const [own, second] = holders.filter((user) => this.#isOurs(user));
    const foreign = holders.find((user) => !this.#isOurs(user));
    if (foreign !== undefined) {
      return failed(
        "cd-existing-object",
        `${dn}: the user ${String(foreign.id)}, which is not ours, has the same userPrincipalName or mail. Join it, or free the value there.`,
      );
    }
    if (own === undefined) return undefined;
    if (second !== undefined) {
      return failed(
        "cd-existing-object",
        `${dn}: the users ${String(own.id)} and ${String(second.id)} carry the same ${this.#scope.settings.stampAttribute}. Remove one of them.`,
      );
    }
    if (!filter.matches(own)) {
      return failed(
        "cd-existing-object",
        `${dn}: this user exists as ${String(own.id)}, outside of the connector's filter. It is left alone; widen the filter, or clear its ${this.#scope.settings.stampAttribute}.`,
      );
    }
    const present = this.#scope.attributes.attributesOf(own);
    const open = attributes.filter(({ name, after }) => !attributesEqual(present[name], after, "exact"));
    const writable = open.filter(({ name }) => this.#attribute(name).readOnly !== true);
    return this.#patched(idOf(own), writable, { resumed: true });
  }

  async #holders(): Promise<readonly GraphUser[]> {
    const { client, settings, select, context } = this.#scope;
    const names = [settings.stampAttribute, "userPrincipalName"];
    if (this.#wanted("userPrincipalName") === undefined) names.push("mail");
    const paths = names.flatMap((name) => {
      const value = this.#wanted(name);
      if (typeof value !== "string") return [];
      const filter = encodeURIComponent(`${name} eq '${value.replaceAll("'", "''")}'`);
      return `/users?$filter=${filter}&$select=${select}`;
    });
    const answers = await client.getMany(paths, context);
    const found = answers.flatMap(({ body }) => (body as { value?: GraphUser[] } | undefined)?.value ?? []);
    return [...new Map(found.map((user) => [idOf(user), user])).values()];
  }

  /** By its stamp; or it is the guest of our own invitation that was cut off before it got one. */
  #isOurs(user: GraphUser): boolean {
    const { stampAttribute } = this.#scope.settings;
    const stamp = this.#wanted(stampAttribute);
    if (typeof stamp !== "string") return false;
    const present = user[stampAttribute];
    if (typeof present === "string") return present.toLowerCase() === stamp.toLowerCase();
    return (
      this.#change.outcomeUnknown &&
      this.#wanted("userPrincipalName") === undefined &&
      user.externalUserState === "PendingAcceptance"
    );
  }

  // ---- update and delete ---------------------------------------------------------------------------------------

  async #update(): Promise<ExportResult> {
    const { dn, attributes } = this.#change;
    const user = await this.#read();
    if (user === undefined) {
      return failed(
        "cd-missing-object",
        `${dn}: it is no longer in the tenant. The next import and synchronisation decide anew.`,
      );
    }
    if (!this.#scope.filter.matches(user)) return this.#outOfScope();
    const present = this.#scope.attributes.attributesOf(user);
    const open = attributes.filter(({ name, after }) => !attributesEqual(present[name], after, "exact"));
    const stale = open.find(({ name, before }) => !attributesEqual(present[name], before));
    if (stale !== undefined) {
      return failed(
        "cd-error",
        `${dn}: somebody else has changed ${stale.name}. It is not overwritten; the next import and synchronisation decide anew.`,
      );
    }
    return this.#patched(idOf(user), open);
  }

  async #delete(): Promise<ExportResult> {
    const user = await this.#read();
    if (user === undefined) return this.#done(this.#change.anchor ?? "");
    if (!this.#scope.filter.matches(user)) return this.#outOfScope();
    const id = idOf(user);
    const answer = await this.#write("DELETE", `/users/${id}`);
    return answer.status < 300 || answer.status === 404 ? this.#done(id) : refusal(answer, this.#change.dn);
  }

  async #read(): Promise<GraphUser | undefined> {
    const { client, select, context } = this.#scope;
    const id = encodeURIComponent(this.#change.anchor ?? "");
    const [answer] = await client.getMany([`/users/${id}?$select=${select}`], context);
    return answer?.status === 200 ? (answer.body as GraphUser) : undefined;
  }

  #outOfScope(): ExportResult {
    return failed(
      "cd-missing-object",
      `${this.#change.dn}: it is outside of the connector's filter now and is left alone. Widen the filter if it shall be managed.`,
    );
  }

  // ---- shared --------------------------------------------------------------------------------------------------

  async #patched(
    id: string,
    changes: readonly AttributeChange[],
    more: { readonly resumed?: true } = {},
  ): Promise<ExportResult> {
    if (changes.length > 0) {
      const answer = await this.#write("PATCH", `/users/${id}`, this.#body(changes));
      if (answer.status >= 300) return refusal(answer, this.#change.dn);
    }
    return { ...this.#done(id), ...more };
  }

  #done(id: string): Extract<ExportResult, { kind: "exported" }> {
    return { kind: "exported", anchor: id, dn: id };
  }

  #body(changes: readonly AttributeChange[]): Record<string, unknown> {
    const isAdd = this.#change.change === "add";
    return this.#scope.attributes.bodyOf(changes.filter(({ after }) => !isAdd || after !== undefined));
  }

  #attribute(name: string) {
    const attribute = this.#scope.attributes.schema.attributes.get(name);
    if (attribute === undefined) throw new TypeError(`${name} is not an attribute of the connector`);
    return attribute;
  }

  #wanted(name: string): AttributeValue | undefined {
    return this.#change.attributes.find((one) => one.name === name)?.after;
  }

  /** Every write goes through here. @throws ConnectorError */
  async #write(method: "POST" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<GraphAnswer> {
    const { client, context } = this.#scope;
    if (context.mayWrite?.() === false) {
      throw new ConnectorError(
        "unreachable",
        "The time for this batch of exports is over; the rest is sent later.",
      );
    }
    return client.send(method, path, body, context);
  }

  async #wait(): Promise<void> {
    const { signal } = this.#scope.context;
    await sleep(this.#scope.replicationMs, undefined, signal === undefined ? {} : { signal });
  }
}

function idOf(object: unknown): string {
  const { id } = (object ?? {}) as { readonly id?: unknown };
  if (typeof id === "string" && id !== "") return id;
  throw new ConnectorError(
    "unreachable",
    "Graph answered a write without the object's id. Check GRAPH_BASE_URL.",
  );
}
