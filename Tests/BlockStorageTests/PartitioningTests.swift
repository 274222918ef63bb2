import BlockStorage
import Testing

struct PartitioningTests {
    @Test func theFirstElementThatSatisfiesIsFoundAtEveryPlace() {
        for count in 0...20 {
            let elements = Array(0..<count)
            for boundary in 0...count {
                #expect(elements.partitioningIndex { $0 >= boundary } == boundary)
                let rest = elements[(count / 2)...]
                #expect(rest.partitioningIndex { $0 >= boundary } == max(boundary, count / 2))
            }
        }
    }
}
