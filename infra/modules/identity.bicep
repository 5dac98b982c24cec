metadata description = 'The one identity that the function app has everywhere: tables, queues, vault, Graph.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the user-assigned managed identity.')
param name string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id.')
output id string = identity.id

@description('Client id: what settings name.')
output clientId string = identity.properties.clientId

@description('Object id: what roles and Graph permissions are given to.')
output principalId string = identity.properties.principalId
