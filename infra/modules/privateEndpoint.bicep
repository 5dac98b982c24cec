metadata description = 'One private endpoint with its entry in a private DNS zone.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the private endpoint.')
param name string

@description('Required. Resource id of the subnet.')
param subnetId string

@description('Required. Resource id of the service that is reached.')
param serviceId string

@description('Required. Sub-resource of the service: blob, queue, table, namespace, vault.')
param groupId string

@description('Required. Resource id of the private DNS zone.')
param dnsZoneId string

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: name
        properties: { privateLinkServiceId: serviceId, groupIds: [groupId] }
      }
    ]
  }
}

resource dns 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [{ name: groupId, properties: { privateDnsZoneId: dnsZoneId } }]
  }
}
