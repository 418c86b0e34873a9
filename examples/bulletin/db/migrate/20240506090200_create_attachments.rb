class CreateAttachments < ActiveRecord::Migration[6.1]
  def change
    create_table :attachments do |t|
      t.references :post, null: false, foreign_key: true
      t.string :filename, null: false
      t.string :content_type, null: false
      t.bigint :byte_size, null: false
      t.string :storage_key, null: false, index: { unique: true }
      t.timestamps
    end
  end
end
