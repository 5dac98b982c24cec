import type { ExportResult } from "../../ports/connector.ts";
import { newPassword } from "../password.ts";
import { refusal } from "./exportErrors.ts";
import type { GraphObject } from "./filter.ts";
import { failed, idOf, ObjectExport, quoted } from "./objectExport.ts";

/** A user: created with a password that nobody knows, or a guest invited by mail. */
export class UserExport extends ObjectExport {
  protected get query(): string {
    const { stampAttribute } = this.scope.settings;
    const compared = new Set([...this.type.select.split(","), stampAttribute, "externalUserState"]);
    return this.type.query.replace(/(?<=^\$select=)[^&]*/, [...compared].join(","));
  }

  protected create(): Promise<ExportResult> {
    const { invitationRedirectUrl } = this.scope.settings;
    return this.wanted("userPrincipalName") === undefined && invitationRedirectUrl !== undefined
      ? this.#invite(invitationRedirectUrl)
      : this.#createUser();
  }

  async #createUser(): Promise<ExportResult> {
    const displayName = this.wanted("displayName");
    const password = newPassword(typeof displayName === "string" ? { displayName } : {});
    const answer = await this.write("POST", "/users", {
      accountEnabled: true,
      ...this.body(this.change.attributes),
      passwordProfile: { password, forceChangePasswordNextSignIn: true },
    });
    if (answer.status === 201) return this.linked(idOf(answer.body), this.change.attributes, {});
    const refused = refusal(answer, this.change.dn);
    // Whoever has the name may have it since a moment ago: an attempt of ours that the first look did not show.
    return refused.code === "cd-existing-object" ? ((await this.meetLater()) ?? refused) : refused;
  }

  /** https://learn.microsoft.com/graph/api/invitation-post; what an invitation cannot carry is written afterwards. */
  async #invite(inviteRedirectUrl: string): Promise<ExportResult> {
    const { dn, attributes } = this.change;
    const mail = this.wanted("mail");
    if (typeof mail !== "string") {
      return failed(
        "invalid-attribute-value",
        `${dn}: neither a userPrincipalName nor a mail address flows to it.`,
      );
    }
    const displayName = this.wanted("displayName");
    const answer = await this.write("POST", "/invitations", {
      invitedUserEmailAddress: mail,
      inviteRedirectUrl,
      sendInvitationMessage: this.scope.settings.invitationMessage,
      ...(typeof displayName === "string" ? { invitedUserDisplayName: displayName } : {}),
    });
    if (answer.status !== 201) return refusal(answer, dn);
    const id = idOf((answer.body as { invitedUser?: unknown } | undefined)?.invitedUser);
    const rest = attributes.filter(({ name, after }) => name !== "mail" && after !== undefined);
    return this.patched(id, rest, {});
  }

  protected async meetHolders(): Promise<ExportResult | undefined> {
    const { dn } = this.change;
    const { stampAttribute } = this.scope.settings;
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
        `${dn}: the users ${String(own.id)} and ${String(second.id)} carry the same ${stampAttribute}. Remove one of them.`,
      );
    }
    return this.resume(own, stampAttribute);
  }

  async #holders(): Promise<readonly GraphObject[]> {
    const { client, settings, context } = this.scope;
    const names = [settings.stampAttribute, "userPrincipalName"];
    if (this.wanted("userPrincipalName") === undefined) names.push("mail");
    const paths = names.flatMap((name) => {
      const value = this.wanted(name);
      return typeof value === "string"
        ? [`/users?$filter=${name}%20eq%20${quoted(value)}&${this.query}`]
        : [];
    });
    const answers = await client.getMany(paths, context);
    const found = answers.flatMap(({ body }) => (body as { value?: GraphObject[] } | undefined)?.value ?? []);
    return [...new Map(found.map((user) => [idOf(user), user])).values()];
  }

  /** By its stamp; or it is the guest of our own invitation that was cut off before it got one. */
  #isOurs(user: GraphObject): boolean {
    const { stampAttribute } = this.scope.settings;
    const stamp = this.wanted(stampAttribute);
    if (typeof stamp !== "string") return false;
    const present = user[stampAttribute];
    if (typeof present === "string") return present.toLowerCase() === stamp.toLowerCase();
    return (
      this.change.outcomeUnknown &&
      this.wanted("userPrincipalName") === undefined &&
      user.externalUserState === "PendingAcceptance"
    );
  }
}
