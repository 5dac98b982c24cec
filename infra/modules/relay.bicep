metadata description = 'The relay that carries LDAPS to one domain controller through an agent on premises.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the relay namespace.')
param name string

@description('Required. Name of the hybrid connection.')
param hybridConnectionName string

@description('Required. DNS name of the domain controller.')
param hostName string

@description('Required. LDAPS port.')
param port int

@description('Required. Resource id of the Log Analytics workspace.')
param logAnalyticsId string

resource namespace 'Microsoft.Relay/namespaces@2021-11-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: 'Standard', tier: 'Standard' }
  properties: {}
}

resource connection 'Microsoft.Relay/namespaces/hybridConnections@2021-11-01' = {
  parent: namespace
  name: hybridConnectionName
  properties: {
    requiresClientAuthorization: true
    // App Service and the agent both read the endpoint from here.
    userMetadata: string([{ key: 'endpoint', value: '${hostName}:${port}' }])
  }
}

resource listenRule 'Microsoft.Relay/namespaces/hybridConnections/authorizationRules@2021-11-01' = {
  parent: connection
  name: 'defaultListener'
  properties: { rights: ['Listen'] }
}

resource sendRule 'Microsoft.Relay/namespaces/hybridConnections/authorizationRules@2021-11-01' = {
  parent: connection
  name: 'defaultSender'
  properties: { rights: ['Send'] }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: namespace
  properties: {
    workspaceId: logAnalyticsId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Name of the relay namespace.')
output name string = namespace.name

@description('Name of the hybrid connection.')
output hybridConnectionName string = connection.name
