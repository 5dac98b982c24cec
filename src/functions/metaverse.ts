import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { answering, json, Problem, paging, param } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { parseClause } from "../engine/metaverseSearch.ts";
import { Queries } from "../engine/queries.ts";

const queries = new Queries(engine);

app.http("searchMetaverse", {
  methods: ["GET"],
  authLevel,
  route: "metaverse",
  handler: answering(async (request) => {
    const { limit, continuation } = paging(request);
    // The platform joins repeated query values by a comma, so they are read from the address itself.
    const clauses = new URL(request.url).searchParams
      .getAll("where")
      .map((text) => parseClause(text, engine.configuration.metaverse));
    return json(await queries.metaverse(clauses, limit, continuation));
  }),
});

app.http("getMetaverseObject", {
  methods: ["GET"],
  authLevel,
  route: "metaverse/{id}",
  handler: answering(async (request) => {
    const object = await queries.metaverseObject(param(request, "id"));
    if (object === null)
      throw new Problem(404, "not-found", `The metaverse has no object ${param(request, "id")}.`);
    return json(object);
  }),
});
