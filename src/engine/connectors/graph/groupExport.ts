import type { ExportResult } from "../../ports/connector.ts";
import { refusal } from "./exportErrors.ts";
import type { GraphObject } from "./filter.ts";
import { failed, idOf, ObjectExport, quoted } from "./objectExport.ts";

/**
 * A group. Its stamp is uniqueName, a key that only its creation can set: the request that creates it under that key may
 * be sent any number of times. https://learn.microsoft.com/graph/api/group-upsert
 */
export class GroupExport extends ObjectExport {
  protected get query(): string {
    return this.type.query;
  }

  protected async create(): Promise<ExportResult> {
    const { dn, attributes } = this.change;
    const path = this.#path;
    if (path === undefined) {
      return failed(
        "invalid-attribute-value",
        `${dn}: no uniqueName flows to it. It is what the group is known by for good; let one flow, such as the objectGUID of the group in Active Directory.`,
      );
    }
    const { uniqueName: _, ...body } = this.body(attributes);
    const usual = { groupTypes: [], mailEnabled: false, securityEnabled: true };
    const answer = await this.write("PATCH", path, { ...usual, ...body }, { Prefer: "create-if-missing" });
    if (answer.status === 201) return this.linked(idOf(answer.body), attributes, {});
    if (answer.status >= 300) return refusal(answer, dn);
    // 204: it was there already, made by an attempt whose answer was lost.
    return (await this.meetLater()) ?? failed("cd-error", `${dn}: it was created, and cannot be read yet.`);
  }

  protected async meetHolders(): Promise<ExportResult | undefined> {
    const { client, context } = this.scope;
    if (this.#path === undefined) return undefined;
    const [answer] = await client.getMany([`${this.#path}?${this.query}`], context);
    return answer?.status === 200 ? this.resume(answer.body as GraphObject, "uniqueName") : undefined;
  }

  get #path(): string | undefined {
    const name = this.wanted("uniqueName");
    return typeof name === "string" ? `/groups(uniqueName=${quoted(name)})` : undefined;
  }
}
