import { app, type HttpRequest } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { holdSchema, whySchema } from "../api/requests.ts";
import { answering, body, callerOf, json, Problem, paging, param, triggerOf } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { Holds } from "../engine/holds.ts";
import { Queries } from "../engine/queries.ts";

const holds = new Holds(engine);
const queries = new Queries(engine);

/** A function key says nothing of who holds it; then at least the way in is known. */
const who = (request: HttpRequest) => callerOf(request) ?? triggerOf(request);

function notInMetaverse(id: string): Problem {
  return new Problem(404, "not-found", `The metaverse has no object ${id}.`);
}

app.http("holdMetaverseObject", {
  methods: ["POST"],
  authLevel,
  route: "metaverse/{id}/hold",
  handler: answering(async (request) => {
    const id = param(request, "id");
    const { why, until } = await body(request, holdSchema);
    const ends = until === null ? null : new Date(until);
    if (ends !== null && ends.getTime() <= engine.options.clock.now())
      throw new Problem(
        400,
        "bad-request",
        `until is ${until}, which is past. Leave it out, or give a time ahead.`,
      );
    const hold = await holds.hold(id, why, ends?.toISOString() ?? null, who(request));
    if (hold === null) throw notInMetaverse(id);
    return json(hold);
  }),
});

app.http("releaseMetaverseObject", {
  methods: ["DELETE"],
  authLevel,
  route: "metaverse/{id}/hold",
  handler: answering(async (request) => {
    const id = param(request, "id");
    const { why } = await body(request, whySchema);
    if (!(await holds.release(id, who(request), why)))
      throw new Problem(404, "not-found", `${id} is not on hold.`);
    return json({ metaverseId: id, released: true });
  }),
});

app.http("listHolds", {
  methods: ["GET"],
  authLevel,
  route: "holds",
  handler: answering(async () => json({ items: await holds.list() })),
});

app.http("getMetaverseHistory", {
  methods: ["GET"],
  authLevel,
  route: "metaverse/{id}/history",
  handler: answering(async (request) => {
    const id = param(request, "id");
    const { limit, continuation } = paging(request);
    if (!/^[0-9a-f]{32}$/.test(id)) throw notInMetaverse(id);
    const { entries, ...more } = await engine.objectHistory.page(id, limit, continuation);
    // What is gone from the metaverse still has a past.
    if (entries.length === 0 && continuation === undefined && (await engine.metaverse.get(id)) === undefined)
      throw notInMetaverse(id);
    return json({ items: entries, ...more });
  }),
});

app.http("listAudit", {
  methods: ["GET"],
  authLevel,
  route: "audit",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const { entries, ...more } = await engine.audit.page(limit, continuation);
    return json({ items: entries, ...more });
  }),
});

app.http("listOrphans", {
  methods: ["GET"],
  authLevel,
  route: "connectors/{name}/orphans",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    const connector = engine.definition(param(request, "name")).name;
    return json(await queries.orphans(connector, limit, continuation));
  }),
});
